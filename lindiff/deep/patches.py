r"""Networks on patches: a mixer and a transformer, denoisers without a single convolution.

They have the calling convention, the preconditioning and the use of
:class:`~lindiff.deep.networks.UNet`, but neither its pyramid of resolutions nor its built-in
locality: what such different networks have in common is not their architecture's doing. Both cut an
image into patches and alternate between mixing patches and mixing features. The
:class:`Transformer` mixes patches by attention. The :class:`Mixer` does it by matrices; it can be
any linear map of the whole image, which is what the best denoiser of a Gaussian law is.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TypeAlias

import torch
from torch import Tensor, nn

from lindiff.deep.networks import (
    _FREQUENCIES,
    Config,
    UNet,
    _embed_noise,
    _Form,
    _precondition,
    _require_images,
)


@dataclass(frozen=True)
class _PatchConfig(_Form):
    channels: int = 1
    size: int = 32
    patch: int = 4
    mean: float = 0.0
    sigma_data: float = 1.0
    width: int = 64

    def _require_multiple(self, name: str, part: str) -> None:
        whole, divisor = getattr(self, name), getattr(self, part)
        if whole % divisor:
            raise ValueError(f"{name} is {whole}; expected a multiple of {part}, {divisor}")


@dataclass(frozen=True)
class TransformerConfig(_PatchConfig):
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

    blocks: int = 3
    heads: int = 4

    def __post_init__(self) -> None:
        self._require("channels", "size", "patch", "width", "blocks", "heads")
        self._require_multiple("size", "patch")
        self._require_multiple("width", "heads")

    def network(self) -> "Transformer":
        """Return an untrained network of this form."""
        return Transformer(self)


@dataclass(frozen=True)
class MixerConfig(_PatchConfig):
    """Everything that fixes the form of a :class:`Mixer`; numbers only.

    Parameters
    ----------
    channels : int
        1 for grey images, 3 for colour.
    size : int
        Height and width of the images; a multiple of `patch`. The network takes this size only.
    patch : int
        Side of a patch in pixels.
    mean, sigma_data : float
        Mean and standard deviation of the data's values, over all pixels and images.
    width : int
        Features of a patch.
    hidden : int
        Width between the two matrices of each half of a layer.
    blocks : int
        Layers; each mixes all patches, feature by feature, and all features, patch by patch.

    Examples
    --------
    >>> MixerConfig(size=28).width
    64
    """

    hidden: int = 128
    blocks: int = 4

    def __post_init__(self) -> None:
        self._require("channels", "size", "patch", "width", "hidden", "blocks")
        self._require_multiple("size", "patch")

    def network(self) -> "Mixer":
        """Return an untrained network of this form."""
        return Mixer(self)


class _Layer(nn.Module):
    """Two maps of all patches, (n, tokens, width); the noise level scales, shifts, gates both."""

    def _add_gates(self, width: int) -> None:
        self.norm = nn.LayerNorm(width, elementwise_affine=False)
        self.modulation = nn.Linear(width, 6 * width)
        for parameter in self.modulation.parameters():  # all gates closed: the layer does nothing
            nn.init.zeros_(parameter)

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        halves = self.modulation(embedding)[:, None].chunk(2, dim=-1)
        for mix, half in zip((self._mix_patches, self._mix_features), halves, strict=True):
            scale, shift, gate = half.chunk(3, dim=-1)
            x = x + gate * mix(self.norm(x) * (1 + scale) + shift)
        return x

    def _mix_patches(self, x: Tensor) -> Tensor:
        raise NotImplementedError

    def _mix_features(self, x: Tensor) -> Tensor:
        raise NotImplementedError


class _AttentionLayer(_Layer):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.queries_keys_values = nn.Linear(width, 3 * width)
        self.mix = nn.Linear(width, width)
        self.wide, self.narrow = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)
        self._add_gates(width)

    def _mix_patches(self, x: Tensor) -> Tensor:
        n, tokens, width = x.shape
        heads = self.queries_keys_values(x).reshape(n, tokens, 3, self.heads, width // self.heads)
        q, k, v = heads.permute(2, 0, 3, 1, 4)
        seen = nn.functional.scaled_dot_product_attention(q, k, v)
        return self.mix(seen.transpose(1, 2).reshape(n, tokens, width))

    def _mix_features(self, x: Tensor) -> Tensor:
        return self.narrow(nn.functional.silu(self.wide(x)))


class _MatrixLayer(_Layer):
    def __init__(self, tokens: int, width: int, hidden: int) -> None:
        super().__init__()
        self.patches = nn.Sequential(
            nn.Linear(tokens, hidden), nn.SiLU(), nn.Linear(hidden, tokens)
        )
        self.features = nn.Sequential(nn.Linear(width, hidden), nn.SiLU(), nn.Linear(hidden, width))
        self._add_gates(width)

    def _mix_patches(self, x: Tensor) -> Tensor:
        return self.patches(x.transpose(1, 2)).transpose(1, 2)

    def _mix_features(self, x: Tensor) -> Tensor:
        return self.features(x)


class _PatchNetwork(nn.Module):
    """What both networks have in common: all but their layers."""

    def __init__(self, config: _PatchConfig) -> None:
        super().__init__()
        self.config = config
        width, values = config.width, config.channels * config.patch**2
        self.embed = nn.Sequential(
            nn.Linear(2 * _FREQUENCIES, width), nn.SiLU(), nn.Linear(width, width), nn.SiLU()
        )
        self.head = nn.Linear(values, width)
        tokens = (config.size // config.patch) ** 2
        self.positions = nn.Parameter(0.02 * torch.randn(tokens, width))
        self.layers = nn.ModuleList(self._make_layers(tokens))
        self.norm = nn.LayerNorm(width)
        self.tail = nn.Linear(width, values)
        for parameter in self.tail.parameters():
            nn.init.zeros_(parameter)

    def _make_layers(self, tokens: int) -> Iterable[_Layer]:
        raise NotImplementedError

    def forward(self, y: Tensor, sigma: float | Tensor) -> Tensor:
        """Denoise images `y` (n, c, h, w) at standard deviation `sigma` > 0 (a number or (n,))."""
        c, size = self.config.channels, self.config.size
        _require_images(y, f"(n, {c}, {size}, {size})", c, lambda h, w: h == w == size)
        mean, sigma_data = self.config.mean, self.config.sigma_data
        return _precondition(self._correction, mean, sigma_data, y, sigma)

    def _correction(self, x: Tensor, noise: Tensor) -> Tensor:
        """F: everything that is learnt; `x` (n, c, h, w) of unit variance, `noise` (n,)."""
        embedding = self.embed(_embed_noise(noise))
        patches = nn.functional.pixel_unshuffle(x, self.config.patch)
        side = patches.shape[-1]
        tokens = self.head(patches.flatten(2).transpose(1, 2)) + self.positions
        for layer in self.layers:
            tokens = layer(tokens, embedding)
        out = self.tail(self.norm(tokens)).transpose(1, 2)
        return nn.functional.pixel_shuffle(out.unflatten(2, (side, side)), self.config.patch)


class Transformer(_PatchNetwork):
    r"""Denoiser with the preconditioning of :class:`~lindiff.deep.networks.UNet`, F by attention.

    F lets all patches see each other in every layer, and is told the noise level as diffusion
    transformers are [Peebles and Xie 2023]: it scales, shifts and gates. Its last layer starts at
    zero: an untrained network is the Wiener denoiser of white data.

    Parameters
    ----------
    config : TransformerConfig

    Examples
    --------
    >>> network = Transformer(TransformerConfig(size=8, width=16, heads=2))
    >>> network(torch.ones(1, 1, 8, 8), sigma=1.0)[0, 0, 0, :3].detach()  # untrained: half of it
    tensor([0.5000, 0.5000, 0.5000])
    """

    config: TransformerConfig

    def _make_layers(self, tokens: int) -> Iterable[_Layer]:
        config = self.config
        return (_AttentionLayer(config.width, config.heads) for _ in range(config.blocks))


class Mixer(_PatchNetwork):
    r"""Denoiser with the preconditioning of :class:`~lindiff.deep.networks.UNet`, F by matrices.

    F mixes, in turn, all patches and all features, as an MLP-Mixer does [Tolstikhin et al. 2021];
    the noise level scales, shifts and gates, as in diffusion transformers [Peebles and Xie 2023].
    Its last layer starts at zero: an untrained network is the Wiener denoiser of white data.

    Parameters
    ----------
    config : MixerConfig

    Examples
    --------
    >>> network = Mixer(MixerConfig(size=8, width=16, hidden=16))
    >>> network(torch.ones(1, 1, 8, 8), sigma=1.0)[0, 0, 0, :3].detach()  # untrained: half of it
    tensor([0.5000, 0.5000, 0.5000])
    """

    config: MixerConfig

    def _make_layers(self, tokens: int) -> Iterable[_Layer]:
        config = self.config
        return (_MatrixLayer(tokens, config.width, config.hidden) for _ in range(config.blocks))


Network: TypeAlias = UNet | Mixer | Transformer
NetworkConfig: TypeAlias = Config | MixerConfig | TransformerConfig
#: The configuration of each kind of network, by the name of its class.
CONFIGS: dict[str, type[NetworkConfig]] = {
    "UNet": Config,
    "Mixer": MixerConfig,
    "Transformer": TransformerConfig,
}
