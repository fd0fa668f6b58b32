r"""Networks that denoise: a small U-Net with the preconditioning of Karras et al. [2022].

A network is a denoiser: called as ``network(y, sigma)`` on images ``(n, c, h, w)`` it returns their
estimate of the clean images. It works under ``torch.func`` (vjp, jvp, vmap, and their compositions)
and is infinitely differentiable.
"""

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from lindiff import _check
from lindiff.types import Denoiser

_GROUPS, _FREQUENCIES = 8, 16


class _Form:
    """A configuration: a frozen dataclass of numbers."""

    mean: float
    sigma_data: float

    def _require(self, *integers: str) -> None:
        for name in integers:
            object.__setattr__(self, name, _check.integer(name, getattr(self, name), 1))
        object.__setattr__(self, "mean", _check.number("mean", self.mean, -math.inf))
        sigma_data = _check.number("sigma_data", self.sigma_data, 0.0, open_low=True)
        object.__setattr__(self, "sigma_data", sigma_data)

    def to_dict(self) -> dict[str, int | float]:
        """Return the numbers as a dict; the class called with ``**dict`` is the way back."""
        return asdict(self)  # type: ignore[call-overload]


@dataclass(frozen=True)
class Config(_Form):
    """Everything that fixes the form of a :class:`UNet`; numbers only, so that JSON can hold it.

    Parameters
    ----------
    channels : int
        1 for grey images, 3 for colour.
    mean, sigma_data : float
        Mean and standard deviation of the data's values, over all pixels and images.
    width : int
        Features at half resolution; a multiple of 16.
    deep_width : int
        Features at a quarter of the resolution; a multiple of 16.
    blocks : int
        Residual blocks on each side at half resolution.
    deep_blocks : int
        Residual blocks at a quarter of the resolution.
    coordinates : int
        2 to let the network see the position of each pixel (centred objects), 0 for images
        whose statistics are the same everywhere.

    Examples
    --------
    >>> Config(channels=3).width
    48
    """

    channels: int = 1
    mean: float = 0.0
    sigma_data: float = 1.0
    width: int = 48
    deep_width: int = 96
    blocks: int = 2
    deep_blocks: int = 3
    coordinates: int = 0

    def __post_init__(self) -> None:
        self._require("channels", "width", "deep_width", "blocks", "deep_blocks")
        for name in ("width", "deep_width"):
            if getattr(self, name) % (2 * _GROUPS):  # a group of one feature may have one value
                raise ValueError(
                    f"{name} is {getattr(self, name)}; expected a multiple of {2 * _GROUPS}"
                )
        if self.coordinates not in (0, 2):
            raise ValueError(f"coordinates is {self.coordinates}; expected 0 or 2")

    def network(self) -> "UNet":
        """Return an untrained network of this form."""
        return UNet(self)


class _Block(nn.Module):
    """Residual block; the noise level scales and shifts the features between its convolutions."""

    def __init__(self, width: int, embedding: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.GroupNorm(_GROUPS, width), nn.GroupNorm(_GROUPS, width)
        self.conv1 = nn.Conv2d(width, width, 3, padding=1)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1)
        self.modulation = nn.Linear(embedding, 2 * width)
        for parameter in self.conv2.parameters():
            nn.init.zeros_(parameter)

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        hidden = self.conv1(nn.functional.silu(self.norm1(x)))
        scale, shift = self.modulation(embedding)[:, :, None, None].chunk(2, dim=1)
        hidden = self.norm2(hidden) * (1 + scale) + shift
        return x + self.conv2(nn.functional.silu(hidden))


class UNet(nn.Module):
    r"""Denoiser :math:`D(y)=\mu+c_{skip}(y-\mu)+c_{out}F(c_{in}(y-\mu),\log\sigma/4)`.

    The coefficients are those of Karras et al. [2022, table 1] for data of standard deviation
    :math:`\sigma_d`: :math:`c_{skip}=\sigma_d^2/(\sigma^2+\sigma_d^2)`,
    :math:`c_{out}=\sigma\sigma_d/\sqrt{\sigma^2+\sigma_d^2}`,
    :math:`c_{in}=1/\sqrt{\sigma^2+\sigma_d^2}`. F is a U-Net on 2 × 2 patches, of two resolutions;
    its last layer starts at zero: an untrained network is the Wiener denoiser of white data.

    Parameters
    ----------
    config : Config

    Examples
    --------
    >>> network = UNet(Config(width=16, deep_width=16))
    >>> network(torch.ones(1, 1, 8, 8), sigma=1.0)[0, 0, 0, :3].detach()  # untrained: half of it
    tensor([0.5000, 0.5000, 0.5000])
    """

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.config = config
        c, wide, deep = config.channels, config.width, config.deep_width
        size = 2 * deep
        self.embed = nn.Sequential(
            nn.Linear(2 * _FREQUENCIES, size), nn.SiLU(), nn.Linear(size, size), nn.SiLU()
        )
        self.head = nn.Conv2d(4 * c + config.coordinates, wide, 3, padding=1)
        self.before = nn.ModuleList(_Block(wide, size) for _ in range(config.blocks))
        self.down = nn.Conv2d(4 * wide, deep, 1)
        self.middle = nn.ModuleList(_Block(deep, size) for _ in range(config.deep_blocks))
        self.up = nn.Conv2d(deep, 4 * wide, 1)
        self.merge = nn.Conv2d(2 * wide, wide, 1)
        self.after = nn.ModuleList(_Block(wide, size) for _ in range(config.blocks))
        self.norm = nn.GroupNorm(_GROUPS, wide)
        self.tail = nn.Conv2d(wide, 4 * c, 3, padding=1)
        for parameter in self.tail.parameters():
            nn.init.zeros_(parameter)

    def forward(self, y: Tensor, sigma: float | Tensor) -> Tensor:
        """Denoise images `y` (n, c, h, w) at standard deviation `sigma` > 0 (a number or (n,))."""
        c = self.config.channels
        expected = f"(n, {c}, h, w) with h and w divisible by 4"
        _require_images(y, expected, c, lambda h, w: h % 4 == 0 == w % 4)
        mean, sigma_data = self.config.mean, self.config.sigma_data
        return _precondition(self._correction, mean, sigma_data, y, sigma)

    def _correction(self, x: Tensor, noise: Tensor) -> Tensor:
        """F: everything that is learnt; `x` (n, c, h, w) of unit variance, `noise` (n,)."""
        embedding = self.embed(_embed_noise(noise))
        x = nn.functional.pixel_unshuffle(x, 2)
        if self.config.coordinates:
            x = torch.cat([x, _coordinates(x)], dim=1)
        x = self.head(x)
        for block in self.before:
            x = block(x, embedding)
        deep = self.down(nn.functional.pixel_unshuffle(x, 2))
        for block in self.middle:
            deep = block(deep, embedding)
        risen = nn.functional.pixel_shuffle(self.up(deep), 2)
        x = self.merge(torch.cat([x, risen], dim=1))
        for block in self.after:
            x = block(x, embedding)
        return nn.functional.pixel_shuffle(self.tail(nn.functional.silu(self.norm(x))), 2)


def _require_images(y: Any, expected: str, channels: int, fits: Callable[[int, int], bool]) -> None:
    """Raise ValueError unless `y` is a tensor (n, channels, h, w) of floats whose sides fit."""
    if not isinstance(y, torch.Tensor):
        raise ValueError(f"y is a {type(y).__name__}; expected a torch tensor {expected}")
    if y.ndim != 4 or y.shape[1] != channels or not fits(*y.shape[2:]):
        raise ValueError(f"y has shape {tuple(y.shape)}; expected {expected}")
    if not y.is_floating_point():
        raise ValueError(f"y has dtype {y.dtype}; expected floating-point numbers")


def _embed_noise(noise: Tensor) -> Tensor:
    """Waves of `noise` (n,), the logarithm of the noise level over 4: (n, 2 * _FREQUENCIES)."""
    waves = torch.logspace(-1, 1, _FREQUENCIES, dtype=noise.dtype, device=noise.device) * math.pi
    angles = noise[:, None] * waves
    return torch.cat([angles.cos(), angles.sin()], dim=1)


def precondition(
    network: Callable[[Tensor, Tensor], Tensor], *, mean: float = 0.0, sigma_data: float = 1.0
) -> Callable[..., Tensor]:
    r"""Turn any network into a denoiser, as :class:`UNet` does with its own.

    Parameters
    ----------
    network : callable
        ``network(x, noise)`` of the shape of `x`, images (n, c, h, w) or vectors (n, d) of about
        unit variance; `noise` is (n,), :math:`\log\sigma/4`.
    mean, sigma_data : float
        Mean and standard deviation of the data's values.

    Returns
    -------
    callable
        A denoiser ``(y, sigma)`` on tensors (n, c, h, w) or (n, d).

    Examples
    --------
    >>> denoiser = precondition(lambda x, noise: 0 * x, sigma_data=2.0)
    >>> denoiser(torch.ones(1, 1, 1, 1), sigma=1.0).flatten()  # the Wiener filter of white data
    tensor([0.8000])
    """
    mean = _check.number("mean", mean, -math.inf)
    sigma_data = _check.number("sigma_data", sigma_data, 0.0, open_low=True)
    return partial(_precondition, network, mean, sigma_data)


def _precondition(
    network: Callable[[Tensor, Tensor], Tensor],
    mean: float,
    sigma_data: float,
    y: Tensor,
    sigma: float | Tensor,
) -> Tensor:
    levels = _noise_levels(sigma, y)
    sigma = levels.reshape(-1, *[1] * (y.ndim - 1))
    total = (sigma**2 + sigma_data**2).sqrt()
    skip, out = (sigma_data / total) ** 2, sigma * sigma_data / total
    correction = network((y - mean) / total, levels.log() / 4)
    _check.same_shape("result of the network", correction.shape, y.shape)
    return mean + skip * (y - mean) + out * correction


@dataclass(frozen=True)
class Rows:
    """A denoiser of images as one of rows (n, d): for `lindiff.sample` and `lindiff.power`.

    NumPy rows are denoised without gradients, some at a time, and come back as NumPy rows of the
    same precision. Tensors are only reshaped, so that gradients pass.

    Parameters
    ----------
    denoiser : callable
        ``denoiser(y, sigma)`` on tensors (n, c, h, w).
    shape : tuple of int
        Shape (c, h, w) of one image; a row is its values in C order.
    batch : int
        Number of NumPy rows denoised at a time.

    Examples
    --------
    >>> denoiser = Rows(UNet(Config(width=16, deep_width=16)), (1, 4, 4))
    >>> denoiser(np.ones((2, 16)), sigma=1.0)[:, 0].round(4)
    array([0.5, 0.5])
    """

    denoiser: Denoiser
    shape: tuple[int, ...]
    batch: int = 256

    def __call__(self, y: Any, sigma: float) -> Any:
        """Denoise rows `y` (n, d) at noise standard deviation `sigma`."""
        dim = math.prod(self.shape)
        if getattr(y, "ndim", 0) != 2 or y.shape[1] != dim:
            raise ValueError(f"y has shape {np.shape(y)}; expected (n, {dim})")
        if isinstance(y, torch.Tensor):
            return self._rows(y, sigma)
        if np.ma.is_masked(y):
            raise ValueError("y has masked entries; expected an array without a mask")
        if not np.issubdtype(y.dtype, np.floating):  # the result would be cut off
            raise ValueError(f"y has dtype {y.dtype}; expected floating-point numbers")
        like = next(iter(getattr(self.denoiser, "parameters", list)()), torch.empty(0))
        batch, out = _check.integer("batch", self.batch, 1), np.empty_like(y)
        with torch.no_grad():
            for start in range(0, len(y), batch):
                part = torch.tensor(y[start : start + batch]).to(like)  # the denoiser's own copy
                out[start : start + batch] = self._rows(part, sigma).cpu().numpy()
        return out

    def _rows(self, rows: Tensor, sigma: float) -> Tensor:
        images = rows.reshape(-1, *self.shape)
        clean = self.denoiser(images, sigma)
        _check.same_shape("result of the denoiser", clean.shape, images.shape)
        return clean.reshape(rows.shape)


def _noise_levels(sigma: float | Tensor, y: Tensor) -> Tensor:
    """Return `sigma`, a number or (n,), as (n,), of the precision and device of `y`."""
    if not isinstance(sigma, torch.Tensor):
        sigma = torch.full(
            (), _check.number("sigma", sigma, 0.0, open_low=True), dtype=y.dtype, device=y.device
        )
    elif not _check.holds(((sigma > 0) & sigma.isfinite()).all()):
        raise ValueError(f"sigma is {sigma.tolist()}; expected finite numbers > 0")
    if sigma.ndim > 1 or (sigma.ndim == 1 and len(sigma) not in (1, len(y))):
        raise ValueError(f"sigma has shape {tuple(sigma.shape)}; expected a number or ({len(y)},)")
    return sigma.to(y).reshape(-1).expand(len(y))


def _coordinates(x: Tensor) -> Tensor:
    """Return the position of every pixel of `x`, from -1 to 1: (n, 2, h, w)."""
    n, _, h, w = x.shape
    rows = torch.linspace(-1, 1, h, dtype=x.dtype, device=x.device)
    columns = torch.linspace(-1, 1, w, dtype=x.dtype, device=x.device)
    return torch.stack(torch.meshgrid(rows, columns, indexing="ij")).expand(n, 2, h, w)
