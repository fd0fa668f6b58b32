r"""Networks that predict a velocity, a score, or EDM's mixture, as denoisers ``(y, sigma)``.

Each is one formula. Networks get a tensor (n,) of times or levels; a denoiser has one number for
all images of a batch. Where a network wants more than that, such as a class or a text, pass a
closure: ``from_flow_matching(lambda x, t: network(x, t, label))``. Guidance of weight w is
``lambda y, sigma: (1 + w) * with_label(y, sigma) - w * without(y, sigma)`` of two denoisers.

**Latent models and transformers.** A denoiser may work on latents as well as on pixels: its
Jacobian then has directions in the space of latents, which a difference of two decoded images
shows. Any network becomes a denoiser by a function of some lines. Here it is a transformer of
diffusers that was trained on a variance-preserving chain and returns noise and a variance:

>>> import diffusers, numpy as np, torch
>>> from lindiff.deep import Jacobian
>>> transformer = diffusers.DiTTransformer2DModel(
...     num_attention_heads=2, attention_head_dim=4, in_channels=4, out_channels=8,
...     num_layers=1, sample_size=4, patch_size=2, num_embeds_ada_norm=10, norm_num_groups=4,
... ).eval().requires_grad_(False)
>>> signal = diffusers.DDPMScheduler().alphas_cumprod.double().numpy()
>>> levels = np.sqrt((1 - signal) / signal)
>>> label = torch.tensor([3])

>>> def denoiser(z, sigma):
...     time = np.interp(np.log(sigma), np.log(levels), np.arange(levels.size))
...     inputs = {"timestep": torch.tensor([time]).to(z), "class_labels": label}
...     out = transformer(z / (1 + sigma**2) ** 0.5, **inputs).sample
...     return z - sigma * out[:, :4]  # without the variance

>>> Jacobian(denoiser, torch.randn(4, 4, 4), sigma=0.5).dim
64
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn

from lindiff import _check

# A network: a function of images (n, ...) and of a tensor (n,) of times or noise levels.
Function: TypeAlias = Callable[[Tensor, Tensor], Tensor]


@dataclass(frozen=True, eq=False)
class Reparametrised:
    """A network as a denoiser ``(y, sigma)``; the functions of this module make it.

    Attributes
    ----------
    network : callable
        As it was given: nothing is copied, moved or changed in mode.

    Examples
    --------
    >>> denoiser = from_score(torch.nn.Bilinear(2, 1, 2))
    >>> [tuple(weight.shape) for weight in denoiser.parameters()]
    [(2, 2, 1), (2,)]
    """

    network: Function = field(repr=False)
    _estimate: Callable[[Tensor, float, Function], Tensor] = field(repr=False)

    def parameters(self) -> Iterator[nn.Parameter]:
        """Iterate over the weights, of which a function has none."""
        own: Any = getattr(self.network, "parameters", None)
        return iter(()) if own is None else iter(own())

    def __call__(self, y: Tensor, sigma: float) -> Tensor:
        """Denoise images `y` (n, ...) at noise standard deviation `sigma`, a number above 0."""
        _check.kind("y", y, Tensor)
        sigma = _check.number("sigma", sigma, 0.0, open_low=True)
        return self._estimate(y, sigma, self.network)


def from_flow_matching(velocity: Function, *, time_scale: float = 1.0) -> Reparametrised:
    r"""Return a denoiser from a network of flow matching [Lipman et al. 2023], or rectified flow.

    On the straight path :math:`x_t=(1-t)x+t\varepsilon` the velocity is :math:`u=\varepsilon-x`,
    so that :math:`\sigma=t/(1-t)`, :math:`x_t=y/(1+\sigma)` and

    .. math:: D_\sigma(y) = \frac{y-\sigma\,u(x_t,t)}{1+\sigma},\qquad t=\frac\sigma{1+\sigma}.

    Parameters
    ----------
    velocity : callable
        ``velocity(x, t)`` with `t` from 0, clean images, to 1, noise. Where time runs from noise to
        images pass ``lambda x, t: -velocity(x, 1 - t)``.
    time_scale : float
        What the network is told at t = 1: 1000 for those of diffusers.

    Returns
    -------
    Reparametrised

    Examples
    --------
    The velocity of white data of unit variance, of which the best denoiser is y / (1 + sigma^2):

    >>> velocity = lambda x, t: (2 * t - 1)[:, None] * x / (t**2 + (1 - t) ** 2)[:, None]
    >>> from_flow_matching(velocity)(torch.ones(1, 2), 2.0)
    tensor([[0.2000, 0.2000]])
    """
    scale = _check.number("time_scale", time_scale, 0.0, open_low=True)

    def estimate(y: Tensor, sigma: float, network: Function) -> Tensor:
        out = network(y / (1 + sigma), _each(y, scale * sigma / (1 + sigma)))
        return (y - sigma * out) / (1 + sigma)

    return Reparametrised(velocity, estimate)


def from_edm(network: Function, *, sigma_data: float | None = 0.5) -> Reparametrised:
    r"""Return a denoiser from a network of EDM [Karras et al. 2022].

    With :math:`s` the standard deviation of the data it is

    .. math::
        \frac{s^2}{\sigma^2+s^2}\,y + \frac{\sigma s}{\sqrt{\sigma^2+s^2}}\,
        F\Big(\frac y{\sqrt{\sigma^2+s^2}},\tfrac14\log\sigma\Big).

    Parameters
    ----------
    network : callable
        ``F(x, noise)`` as above, without its preconditioning; or, with ``sigma_data=None``,
        ``network(y, sigma)`` that returns clean images, as the networks of EDM's own code do.
    sigma_data : float or None
        What the network was trained with.

    Returns
    -------
    Reparametrised

    Examples
    --------
    >>> from_edm(lambda x, noise: 0 * x, sigma_data=1.0)(torch.ones(1, 2), 2.0)
    tensor([[0.2000, 0.2000]])
    """
    if sigma_data is None:
        return Reparametrised(network, lambda y, sigma, network: network(y, _each(y, sigma)))
    s = _check.number("sigma_data", sigma_data, 0.0, open_low=True)

    def estimate(y: Tensor, sigma: float, network: Function) -> Tensor:
        total = sigma**2 + s**2
        out = network(y / total**0.5, _each(y, sigma).log() / 4)
        return s**2 / total * y + sigma * s / total**0.5 * out

    return Reparametrised(network, estimate)


def from_score(score: Function) -> Reparametrised:
    r"""Return a denoiser from a score of variance-exploding noise, :math:`y+\sigma^2 s(y,\sigma)`.

    That is Miyasawa's [1961] identity. The Jacobian of the denoiser is
    :math:`1+\sigma^2\partial_ys`.

    Parameters
    ----------
    score : callable
        ``score(y, sigma)``, the gradient of the log-density of noisy images.

    Returns
    -------
    Reparametrised

    Examples
    --------
    >>> from_score(lambda y, sigma: -y / (1 + sigma[:, None] ** 2))(torch.ones(1, 2), 2.0)
    tensor([[0.2000, 0.2000]])
    """
    return Reparametrised(score, lambda y, sigma, score: y + sigma**2 * score(y, _each(y, sigma)))


def _each(y: Tensor, value: float) -> Tensor:
    """The same number for each image."""
    return torch.full((len(y),), value, dtype=y.dtype, device=y.device)
