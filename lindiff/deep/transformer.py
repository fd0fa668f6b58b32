r"""A small transformer on patches: a second denoiser, without convolutions.

It has the calling convention, the preconditioning and the use of
:class:`~lindiff.deep.networks.UNet`, but neither its pyramid of resolutions nor its built-in
locality: what two such different networks have in common is not their architecture's doing.
"""

import math
from dataclasses import asdict, dataclass
from typing import TypeAlias

import torch
from torch import Tensor, nn

from lindiff import _check
from lindiff.deep.networks import _FREQUENCIES, Config, UNet, _embed_noise, _require_images
from lindiff.deep.networks import _precondition as precondition_images


@dataclass(frozen=True)
class TransformerConfig:
    """Everything that fixes the form of a :class:`Transformer`; numbers only.

    Parameters
    ----------
    channels : int
        1 for grey images, 3 for colour.
    size : int
        Height and width of the images; a multiple of `patch`. Every patch has a learnt position,
        so that the network takes this size only.
    patch : int
        Side of a patch in pixels.
    mean, sigma_data : float
        Mean and standard deviation of the data's values, over all pixels and images.
    width : int
        Features of a patch; a multiple of `heads`.
    blocks : int
        Layers, each of attention and a network of two layers.
    heads : int
        Heads of each attention.

    Examples
    --------
    >>> TransformerConfig(size=28).width
    64
    """

    channels: int = 1
    size: int = 32
    patch: int = 4
    mean: float = 0.0
    sigma_data: float = 1.0
    width: int = 64
    blocks: int = 3
    heads: int = 4

    def __post_init__(self) -> None:
        for name in ("channels", "size", "patch", "width", "blocks", "heads"):
            object.__setattr__(self, name, _check.integer(name, getattr(self, name), 1))
        for name, part in (("size", "patch"), ("width", "heads")):
            if getattr(self, name) % getattr(self, part):
                raise ValueError(
                    f"{name} is {getattr(self, name)}; expected a multiple of {part}, "
                    f"{getattr(self, part)}"
                )
        object.__setattr__(self, "mean", _check.number("mean", self.mean, -math.inf))
        sigma_data = _check.number("sigma_data", self.sigma_data, 0.0, open_low=True)
        object.__setattr__(self, "sigma_data", sigma_data)

    def to_dict(self) -> dict[str, int | float]:
        """Return the numbers as a dict; ``TransformerConfig(**dict)`` is the way back."""
        return asdict(self)

    def network(self) -> "Transformer":
        """Return an untrained network of this form."""
        return Transformer(self)


class _Layer(nn.Module):
    """Attention and a network of two layers; the noise level scales, shifts and gates both."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm = nn.LayerNorm(width, elementwise_affine=False)
        self.queries_keys_values = nn.Linear(width, 3 * width)
        self.mix = nn.Linear(width, width)
        self.wide, self.narrow = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)
        self.modulation = nn.Linear(width, 6 * width)
        for parameter in self.modulation.parameters():  # all gates closed: the layer does nothing
            nn.init.zeros_(parameter)

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        first, second = self.modulation(embedding)[:, None].chunk(2, dim=-1)
        scale, shift, gate = first.chunk(3, dim=-1)
        x = x + gate * self._attend(self.norm(x) * (1 + scale) + shift)
        scale, shift, gate = second.chunk(3, dim=-1)
        hidden = nn.functional.silu(self.wide(self.norm(x) * (1 + scale) + shift))
        return x + gate * self.narrow(hidden)

    def _attend(self, x: Tensor) -> Tensor:
        n, tokens, width = x.shape
        heads = self.queries_keys_values(x).reshape(n, tokens, 3, self.heads, width // self.heads)
        q, k, v = heads.permute(2, 0, 3, 1, 4)
        seen = nn.functional.scaled_dot_product_attention(q, k, v)
        return self.mix(seen.transpose(1, 2).reshape(n, tokens, width))


class Transformer(nn.Module):
    r"""Denoiser with the preconditioning of :class:`~lindiff.deep.networks.UNet` and F on patches.

    F cuts the image into patches, lets all of them see each other in every layer, and is told the
    noise level as diffusion transformers are [Peebles and Xie 2023]: it scales, shifts and gates.
    Its last layer starts at zero: an untrained network is the Wiener denoiser of white data.

    Parameters
    ----------
    config : TransformerConfig

    Examples
    --------
    >>> network = Transformer(TransformerConfig(size=8, width=16, heads=2))
    >>> network(torch.ones(1, 1, 8, 8), sigma=1.0)[0, 0, 0, :3].detach()  # untrained: half of it
    tensor([0.5000, 0.5000, 0.5000])
    """

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        self.config = config
        width, values = config.width, config.channels * config.patch**2
        self.embed = nn.Sequential(
            nn.Linear(2 * _FREQUENCIES, width), nn.SiLU(), nn.Linear(width, width), nn.SiLU()
        )
        self.head = nn.Linear(values, width)
        tokens = (config.size // config.patch) ** 2
        self.positions = nn.Parameter(0.02 * torch.randn(tokens, width))
        self.layers = nn.ModuleList(_Layer(width, config.heads) for _ in range(config.blocks))
        self.norm = nn.LayerNorm(width)
        self.tail = nn.Linear(width, values)
        for parameter in self.tail.parameters():
            nn.init.zeros_(parameter)

    def forward(self, y: Tensor, sigma: float | Tensor) -> Tensor:
        """Denoise images `y` (n, c, h, w) at standard deviation `sigma` > 0 (a number or (n,))."""
        c, size = self.config.channels, self.config.size
        _require_images(y, f"(n, {c}, {size}, {size})", c, lambda h, w: h == w == size)
        mean, sigma_data = self.config.mean, self.config.sigma_data
        return precondition_images(self._correction, mean, sigma_data, y, sigma)

    def _correction(self, x: Tensor, noise: Tensor) -> Tensor:
        """F: everything that is learnt; `x` (n, c, h, w) of unit variance, `noise` (n,)."""
        embedding = self.embed(_embed_noise(noise))
        tokens = nn.functional.pixel_unshuffle(x, self.config.patch)
        side = tokens.shape[-1]
        tokens = self.head(tokens.flatten(2).transpose(1, 2)) + self.positions
        for layer in self.layers:
            tokens = layer(tokens, embedding)
        out = self.tail(self.norm(tokens)).transpose(1, 2)
        return nn.functional.pixel_shuffle(out.unflatten(2, (side, side)), self.config.patch)


Network: TypeAlias = UNet | Transformer
NetworkConfig: TypeAlias = Config | TransformerConfig
#: The configuration of each kind of network, by the name of its class.
CONFIGS: dict[str, type[NetworkConfig]] = {"UNet": Config, "Transformer": TransformerConfig}
