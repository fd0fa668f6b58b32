"""Calls of a user's denoiser that leave it as it was, and the graph of one such call."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import attention

from lindiff import _check
from lindiff.deep._operations import RepairedOperations
from lindiff.types import Denoiser

OFFER = (
    "lindiff.deep.jacobian.finite_difference(denoiser, y, sigma, v) "
    "approximates J v without a derivative"
)
# What torch says when a derivative is missing; any other error is the denoiser's own.
Pair: TypeAlias = tuple[Tensor, Tensor]
_FINE = 1 / 16  # the small step, in usual ones
_NO_DERIVATIVE = ("numpy()", "differentiat", "double backward", "not implemented")


def image(y: Tensor) -> Tensor:
    """Check one image and return it detached, outside of any graph."""
    if not isinstance(y, torch.Tensor) or y.dtype not in (torch.float32, torch.float64):
        kind = y.dtype if isinstance(y, torch.Tensor) else type(y).__name__
        half = isinstance(y, torch.Tensor) and y.dtype in (torch.bfloat16, torch.float16)
        name = str(y.dtype).removeprefix("torch.") if half else ""
        hint = f": pass y.float() and lambda y, sigma: D(y.{name}(), sigma).float()" if half else ""
        raise ValueError(f"y is {kind}; expected a torch tensor of float32 or float64{hint}")
    if y.ndim > 3:
        raise ValueError(
            f"y has shape {tuple(y.shape)}; expected one image (c, h, w). Of a batch (n, c, h, w) "
            "pass y[0]; of a video (c, t, h, w) pass y.flatten(0, 1) and "
            f"lambda y, sigma: D(y.unflatten(1, {tuple(y.shape[:2])}), sigma).flatten(1, 2)"
        )
    if y.ndim == 0 or y.numel() == 0:
        raise ValueError(f"y has shape {tuple(y.shape)}; expected one image, such as (c, h, w)")
    if not bool(y.isfinite().all()):
        raise ValueError("y contains nan or inf; expected finite values")
    return y.detach()


def batch(v: Any, y: Tensor) -> tuple[Tensor, Callable[[Tensor], Any]]:
    """Check vectors for `y`, and return them as a batch of images and the way back to their form.

    Torch comes back as torch, anything else as float64 NumPy; images as images, rows as rows.
    """
    is_torch = isinstance(v, torch.Tensor)
    if is_torch and v.is_complex():
        raise ValueError(f"v is complex ({v.dtype}); expected real vectors")
    v = v.detach() if is_torch else torch.from_numpy(_check.array("v", v, np.ndim(v)).copy())
    form, single, dim = tuple(v.shape), tuple(y.shape), y.numel()
    if form not in (single, (dim,)) and (form[1:] not in (single, (dim,)) or form[0] == 0):
        raise ValueError(
            f"v has shape {form}; expected {single}, or rows ({dim},), or k >= 1 of either"
        )
    if not bool(v.isfinite().all()):
        raise ValueError("v contains nan or inf; expected finite values")

    def back(out: Tensor) -> Any:
        out = out.reshape(form)
        return out if is_torch else out.double().cpu().numpy()

    return v.to(y).reshape(-1, *single), back


def _changes_in_training(module: nn.Module) -> bool:
    """Whether a module is random, or may rewrite its buffers, because it is in training mode."""
    if isinstance(module, nn.modules.dropout._DropoutNd):
        active = module.p > 0
    elif isinstance(module, nn.MultiheadAttention):
        active = module.dropout > 0
    else:  # statistics of a batch, vectors of a spectral norm, whatever a user's module keeps
        active = any(buffer is not None for buffer in module._buffers.values())
    return module.training and active


@contextmanager
def _refusing_training_mode() -> Iterator[None]:
    """Stop before a module that training mode would change, wherever the denoiser keeps it."""
    thread = threading.get_ident()

    def refuse(module: nn.Module, _: Any) -> None:
        if threading.get_ident() == thread and _changes_in_training(module):
            raise ValueError(
                f"the denoiser runs {type(module).__name__} in training mode; "
                "expected evaluation mode: call model.eval() first"
            )

    handle = nn.modules.module.register_module_forward_pre_hook(refuse)
    try:
        yield
    finally:
        handle.remove()


@contextmanager
def offering_finite_differences() -> Iterator[None]:
    """Turn torch's errors about missing derivatives into one that shows a way out."""
    try:
        yield
    except torch.utils.checkpoint.CheckpointError as error:
        raise ValueError("the denoiser uses gradient checkpointing; turn it off first") from error
    except RuntimeError as error:
        if not any(words in str(error) for words in _NO_DERIVATIVE):
            raise
        raise ValueError(f"the denoiser is not differentiable ({error}); {OFFER}") from error


def call(denoiser: Denoiser, y: Tensor, sigma: float) -> Tensor:
    """Call the denoiser on a batch and check what it returns."""
    # The fused kernels of attention have no second derivative.
    with _refusing_training_mode(), attention.sdpa_kernel(attention.SDPBackend.MATH):
        out = denoiser(y, sigma)
    if not isinstance(out, torch.Tensor) or out.shape != y.shape:
        kind = tuple(out.shape) if isinstance(out, torch.Tensor) else type(out).__name__
        raise ValueError(f"the denoiser returned {kind}; expected a tensor {tuple(y.shape)}")
    if out.dtype != y.dtype:
        raise ValueError(
            f"the denoiser returned {out.dtype} for {y.dtype}; end it with .to(y.dtype)"
        )
    if not bool(out.isfinite().all()):
        raise ValueError("the denoiser returned a value that is not finite")
    return out


def detached(denoiser: Denoiser, y: Tensor, sigma: float) -> Tensor:
    """Call a denoiser that may change its `y` or take a gradient inside, and return no graph."""
    with torch.inference_mode(False), torch.enable_grad():
        return call(denoiser, y.clone().requires_grad_().clone(), sigma).detach()


def step_length(y: Tensor, sigma: float) -> float:
    """Distance at which a central difference at the image `y` loses least."""
    return (torch.finfo(y.dtype).eps * (float(y.norm()) or sigma) * sigma**2) ** (1 / 3)


def _slope(denoiser: Denoiser, y: Tensor, sigma: float, v: Tensor, length: float) -> Tensor:
    """Central difference of the denoiser at `y` along `v`, two points of distance `length`."""
    if not bool(v.norm() > 0):
        return torch.zeros_like(v)
    shift = v * (length / v.norm())
    ends = [detached(denoiser, (y + part)[None], sigma)[0] for part in (shift, -shift)]
    return (ends[0] - ends[1]) * (v.norm() / (2 * length))


def _cut(share: float) -> ValueError:
    return ValueError(
        "the derivative in torch's graph is not that of the denoiser: a central difference is "
        f"off by {100 * share:.0f} %. Look for .data, .detach(), no_grad or "
        "NumPy inside, autograd.grad without create_graph, or a backward pass of its own; "
        f"{OFFER}, and check=False leaves this test out"
    )


class Differences(NamedTuple):
    """A random w, a central difference of the usual step along it, and what rounding does to that.

    `along` computes others, of that many usual steps: they matter only where this one disagrees.
    """

    w: Tensor
    near: Tensor
    along: Callable[[float], Tensor]
    rounding: float


def differences(denoiser: Denoiser, y: Tensor, sigma: float, denoised: Tensor) -> Differences:
    """Return the central difference of the usual step along a random w, and a way to others."""
    y = y.clone()  # a later change by its owner must not reach the other steps
    w = torch.randn(y.shape, generator=torch.Generator().manual_seed(2)).to(y)
    length = step_length(y, sigma)

    def along(part: float) -> Tensor:
        return _slope(denoiser, y, sigma, w, part * length)

    rounding = 20 * torch.finfo(y.dtype).eps * float(denoised.norm() * w.norm()) / (2 * length)
    return Differences(w, along(1), along, rounding)


def require_same(product: Tensor, found: Differences) -> None:
    """Raise ValueError if J w is not what differences say, alike for a small and a large step.

    All pixels are compared, so that a cut at a few of them is seen.
    """
    near, size = float((product - found.near).norm()), float(product.norm())
    if near < found.rounding or near <= 0.05 * size:
        return
    slope = found.along(4)
    far = float((product - slope).norm())
    if far < found.rounding or far <= 0.05 * size:
        return  # where the derivative is nearly zero, as between far clusters
    # At a kink, or where the network is steep, the difference of a small step is right.
    if float((found.near - slope).norm()) < 0.3 * near:
        fine = float((product - found.along(_FINE)).norm())
        if fine > 0.5 * near:
            raise _cut(near / max(size, float(found.near.norm())))


def _require_connected(
    denoiser: Denoiser, y: Tensor, sigma: float, graph: Pair, pair: Pair
) -> None:
    """Raise ValueError if torch's graph misses a part of how the result depends on `y`.

    With K what the graph gives and J the truth, ``u.J p = p.p`` for ``p = K.T u``, and ``f.K w =
    f.f`` for ``f = J w``. In the mean both hold only if K = J: the gaps are the products of J - K
    with K and with J.
    """
    leaf, out = graph
    u, pulled = pair
    w = torch.randn(y.shape, generator=torch.Generator().manual_seed(1)).to(y)

    rounding = 20 * torch.finfo(y.dtype).eps * float(out.detach().norm())

    def gap(first: Tensor, second: Tensor, noise: Tensor) -> float:
        """Relative difference of two products, 0 where rounding alone could make it."""
        difference, size = float(first - second), max(float(first.abs()), float(second.abs()))
        return difference / size if abs(difference) > float(noise) else 0.0

    def gaps(length: float, rounding: float = rounding) -> np.ndarray:
        error = rounding / (2 * length)  # of a central difference along a unit vector
        slope, image = (_slope(denoiser, y, sigma, v, length) for v in (pulled, w))
        (back,) = torch.autograd.grad(out, leaf, image[None], retain_graph=True)
        first = gap((u * slope).sum(), (pulled * pulled).sum(), error * pulled.norm() * u.norm())
        second = gap((back[0] * w).sum(), (image * image).sum(), error * w.norm() * image.norm())
        return np.array([first, second])

    length = step_length(y, sigma)
    if np.abs(gaps(length)).max() < 0.05:
        return
    # Only a difference that other steps confirm is one of the graph. Low precision inside the
    # denoiser makes those of small steps wrong, a kink or a steep place those of large ones.
    near, far = gaps(4 * length), gaps(16 * length)
    at = np.abs(near).argmax()
    if abs(near[at]) > 0.05 and abs(near[at] - far[at]) < 0.3 * abs(near[at]):
        fine = gaps(_FINE * length, rounding=0.0)
        if np.abs(fine).max() > 0.5 * abs(near[at]):
            raise _cut(abs(float(near[at])))


@contextmanager
def _noting_weights() -> Iterator[set[int]]:
    """Collect the addresses of weights and buffers of all modules that run."""
    addresses: set[int] = set()

    def note(module: nn.Module, _: Any) -> None:
        tensors = (*module.parameters(), *module.buffers())  # of those inside, some never run
        addresses.update(tensor.untyped_storage().data_ptr() for tensor in tensors)

    handle = nn.modules.module.register_module_forward_pre_hook(note)
    try:
        yield addresses
    finally:
        handle.remove()


def trace(
    denoiser: Denoiser, y: Tensor, sigma: float, check: bool = True
) -> tuple[Pair, Pair, set[int]]:
    """Return the graph of one call on the image `y`, as (leaf, result), and one product with J.T.

    The product is a pair (u, J.T u) for a random u. Third come the addresses of the weights. With
    `check` the graph is compared with central differences.
    """
    u = torch.randn(y.shape, generator=torch.Generator().manual_seed(0)).to(y)
    with torch.inference_mode(False), torch.enable_grad(), offering_finite_differences():
        leaf = y[None].clone().requires_grad_()
        with RepairedOperations(), _noting_weights() as weights:
            out = call(denoiser, leaf.clone(), sigma)  # a leaf may not be changed in place
        pulled = None
        if out.requires_grad:
            (pulled,) = torch.autograd.grad(
                out, leaf, u[None], retain_graph=True, allow_unused=True
            )
    if pulled is None:
        raise ValueError(
            "the denoiser's output does not depend on y in torch's graph "
            f"(detach, no_grad, NumPy inside, or a constant); {OFFER}"
        )
    again = detached(denoiser, y[None], sigma)
    if (again - out.detach()).norm() > 1e-3 * out.detach().norm():
        raise ValueError(
            "the denoiser gave two results for the same y; expected a function: "
            "call model.eval(), or fix what it draws"
        )
    graph, pair = (leaf, out), (u, pulled[0].detach())
    if check:
        _require_connected(denoiser, y, sigma, graph, pair)
    return graph, pair, weights
