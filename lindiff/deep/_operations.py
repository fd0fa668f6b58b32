"""Operations of torch corrected for products with Jacobians.

Torch's convolution also works out a gradient of the weight, asked for or not. Without it a product
with the Jacobian of a convolutional network takes about half the time. And its group norm cannot
pull several vectors back at a time through images with the channels last in memory.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, overrides
from torch.nn.grad import conv2d_input

conv2d, group_norm = torch.nn.functional.conv2d, torch.nn.functional.group_norm


class _Convolution(torch.autograd.Function):
    """conv2d as a function of the image alone."""

    generate_vmap_rule = True

    @staticmethod
    def forward(x: Tensor, weight: Tensor, bias: Tensor | None, options: tuple[Any, ...]) -> Tensor:
        return conv2d(x, weight, bias, *options)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        x, weight, _, ctx.options = inputs
        ctx.shape = x.shape
        ctx.save_for_backward(weight)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        (weight,) = ctx.saved_tensors
        # within a vmap over cotangents a Function is slow, and without a graph it is not needed
        transpose = _Transpose.apply if torch.is_grad_enabled() else _Transpose.forward
        return transpose(grad, weight, ctx.shape, ctx.options), None, None, None


class _Transpose(torch.autograd.Function):
    """Its adjoint, whose own adjoint is the convolution."""

    generate_vmap_rule = True

    @staticmethod
    def forward(
        grad: Tensor, weight: Tensor, shape: Sequence[int], options: tuple[Any, ...]
    ) -> Tensor:
        return conv2d_input(shape, weight, grad, *options)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        _, weight, _, ctx.options = inputs
        ctx.save_for_backward(weight)

    @staticmethod
    def backward(ctx: Any, v: Tensor) -> tuple[Tensor | None, ...]:
        (weight,) = ctx.saved_tensors
        return conv2d(v, weight, None, *ctx.options), None, None, None


# The names of the arguments are torch's: they may be given as keywords.
def _convolve(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
) -> Tensor:
    """Do conv2d; by way of :class:`_Convolution` where that is the same."""
    options = stride, padding, dilation, groups
    fixed = all(w is None or w.grad_fn is None for w in (weight, bias))  # may depend on y otherwise
    ours = fixed and input.ndim == 4 and not isinstance(padding, str)
    if not ours or torch.is_autocast_enabled(input.device.type):
        return conv2d(input, weight, bias, *options)
    bias = None if bias is None else bias.detach()
    return _Convolution.apply(input, weight.detach(), bias, options)


def _normalise(input: Tensor, *args: Any, **kwargs: Any) -> Tensor:
    return group_norm(input.contiguous(), *args, **kwargs)


class RepairedOperations(overrides.TorchFunctionMode):
    """Context in which products with a Jacobian cost what they should, and exist."""

    def __torch_function__(
        self,
        function: Callable[..., Any],
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        """Replace conv2d and group_norm, and nothing else."""
        ours = {conv2d: _convolve, group_norm: _normalise}.get(function, function)
        return ours(*args, **(kwargs or {}))
