r"""Networks of others as denoisers: the U-Nets of diffusers, with a class or without.

There a network works in variance-preserving coordinates,
:math:`x_{vp}=\sqrt{\bar\alpha_t}\,x+\sqrt{1-\bar\alpha_t}\,\varepsilon`, and is told the time t.
Here a denoiser is given :math:`y=x+\sigma\varepsilon` and :math:`\sigma`. The two are the same
process in other units: :math:`\sigma^2=(1-\bar\alpha_t)/\bar\alpha_t` and
:math:`x_{vp}=y/\sqrt{1+\sigma^2}`.
"""

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from lindiff import _check

# Clean images from y, what the network returns, and sigma: alpha_bar is 1 / (1 + sigma^2).
_CLEAN = {
    "epsilon": lambda y, out, sigma: y - sigma * out,
    "sample": lambda y, out, sigma: out,
    "v_prediction": lambda y, out, sigma: y / (1 + sigma**2) - sigma / (1 + sigma**2) ** 0.5 * out,
}


@dataclass(frozen=True, eq=False)
class DiffusersDenoiser:
    """A U-Net of diffusers as a denoiser ``(y, sigma)``; :func:`from_diffusers` makes it.

    Attributes
    ----------
    unet : diffusers.UNet2DModel
        In evaluation mode; its weights ask for no gradients.
    prediction : str
        What the network returns: ``epsilon``, ``sample`` or ``v_prediction``.
    sigmas : ndarray, shape (T,)
        The levels of training, decreasing; the time of the last is 0. Read-only.
    shape : tuple
        Shape (c, h, w) of the images of training; h and w are None if the network does not say.
    condition : int or None
        The class that the network is told.

    Examples
    --------
    >>> from diffusers import DDPMPipeline, DDPMScheduler, UNet2DModel
    >>> unet = UNet2DModel(
    ...     sample_size=8,
    ...     norm_num_groups=4,
    ...     block_out_channels=(8,),
    ...     down_block_types=("DownBlock2D",),
    ...     up_block_types=("UpBlock2D",),
    ... )
    >>> denoiser = from_diffusers(DDPMPipeline(unet, DDPMScheduler()))
    >>> denoiser.time(denoiser.sigmas[-4]), round(denoiser.time(0.5), 2)
    (3.0, 144.15)
    """

    unet: Any = field(repr=False)  # diffusers is imported when it is needed, and not before
    prediction: str
    sigmas: np.ndarray = field(repr=False)
    shape: tuple[int, Any, Any]  # None where the network does not say, int elsewhere
    condition: int | None = None

    @property
    def sigma_min(self) -> float:
        """Smallest level of training."""
        return float(self.sigmas[-1])

    @property
    def sigma_max(self) -> float:
        """Largest finite level of training."""
        return float(self.sigmas[0])

    def time(self, sigma: float) -> float:
        r"""Time that the network is told at level `sigma`, fractional between two levels.

        It is linear in :math:`\log\sigma` there, as in the samplers of diffusers that use the
        levels of Karras et al. [2022]. A network with a learned table of times is told the
        nearest whole one.

        Raises
        ------
        ValueError
            If `sigma` is outside of the levels of training by more than rounding (1e-6).
        """
        sigma, low, high = _check.number("sigma", sigma, 0.0), self.sigma_min, self.sigma_max
        if not low * (1 - 1e-6) <= sigma <= high * (1 + 1e-6):
            raise ValueError(
                f"sigma is {sigma}; expected {low:.6g} to {high:.6g}, the levels of training"
            )
        time = np.interp(np.log(sigma), np.log(self.sigmas[::-1]), np.arange(self.sigmas.size))
        return float(time.round() if self._has_table() else time)

    def parameters(self) -> Iterator[nn.Parameter]:
        """Iterate over the weights: they tell which precision and device `y` must have."""
        return self.unet.parameters()

    def __call__(self, y: Tensor, sigma: float) -> Tensor:
        """Denoise images `y` (n, c, h, w) at noise standard deviation `sigma`, a number."""
        at = self.time(sigma)
        self._check_images(y)
        sigma = float(sigma)
        # A tensor, for the network cuts the fraction off a plain number.
        kind = torch.long if self._has_table() else torch.float32
        time = torch.tensor([at], dtype=kind, device=y.device)
        label = None if self.condition is None else torch.tensor([self.condition], device=y.device)
        out = self.unet(y / (1 + sigma**2) ** 0.5, time, class_labels=label).sample
        # A second half of the channels is a learned variance.
        return _CLEAN[self.prediction](y, out[:, : y.shape[1]], sigma)

    def _has_table(self) -> bool:
        return self.unet.config.time_embedding_type == "learned"

    def _check_images(self, y: Tensor) -> None:
        channels, unit = self.shape[0], 2 ** (len(self.unet.config.block_out_channels) - 1)
        expected = f"(n, {channels}, h, w) with h and w divisible by {unit}"
        if not isinstance(y, torch.Tensor):
            raise ValueError(f"y is a {type(y).__name__}; expected a torch tensor {expected}")
        if y.ndim != 4 or y.shape[1] != channels or y.shape[2] % unit or y.shape[3] % unit:
            raise ValueError(f"y has shape {tuple(y.shape)}; expected {expected}")
        like = next(self.parameters())
        if (y.dtype, y.device) != (like.dtype, like.device):
            raise ValueError(
                f"y is {y.dtype} on {y.device}; expected {like.dtype} on {like.device} as the "
                "network: move y, or the pipeline before from_diffusers"
            )


def from_diffusers(source: Any, *, condition: int | None = None) -> DiffusersDenoiser:
    r"""Return a denoiser ``(y, sigma)`` from a pipeline of diffusers with a U-Net.

    Depending on what the network predicts the estimate of the clean images is

    .. math::
        y-\sigma\hat\varepsilon,\qquad\hat x,\qquad
        \frac y{1+\sigma^2}-\frac{\sigma\,\hat v}{\sqrt{1+\sigma^2}}

    for ``epsilon`` [Ho et al. 2020], ``sample``, and ``v_prediction`` [Salimans and Ho 2022]. It
    is not clipped, whatever the scheduler does: clipping would hide directions from a Jacobian.
    Levels have the unit of the images, which most pipelines scale to [-1, 1].

    The pipeline stays as it is. The denoiser shares its weights but not its mode: it is always in
    evaluation mode, and does not require gradients of the weights. Nothing is moved: images must
    be on the device of the network, ``from_diffusers(pipeline.to("cuda"))``, and have its
    precision.

    Parameters
    ----------
    source : diffusers.DiffusionPipeline, str or Path
        A pipeline with a ``UNet2DModel`` as `unet` and a `scheduler` that has ``alphas_cumprod``;
        or the folder of one, or its name on the Hugging Face hub, which needs the network once.
    condition : int, optional
        A class, for a network with a table of classes (``num_class_embeds``).

    Returns
    -------
    DiffusersDenoiser
        For :func:`lindiff.samplers.sample` and :class:`~lindiff.deep.jacobian.Jacobian`.

    Raises
    ------
    ImportError
        If diffusers is not installed; the message says what to do.
    OSError
        If no pipeline can be loaded from `source`; the message says what to do.
    ValueError
        If the network is no U-Net or conditional in another way, `condition` is missing or not
        one of its classes, or the scheduler is of another kind (see `deep.parametrisations`).
        The denoiser raises it for levels outside of training and for images that do not fit.

    Examples
    --------
    >>> from diffusers import DDPMPipeline, DDPMScheduler, UNet2DModel
    >>> from lindiff import geometric, sample
    >>> unet = UNet2DModel(
    ...     sample_size=8,
    ...     norm_num_groups=4,
    ...     block_out_channels=(8, 8),
    ...     down_block_types=("DownBlock2D", "AttnDownBlock2D"),
    ...     up_block_types=("AttnUpBlock2D", "UpBlock2D"),
    ... )
    >>> denoiser = from_diffusers(DDPMPipeline(unet, DDPMScheduler()))
    >>> denoiser.shape, round(denoiser.sigma_min, 4), round(denoiser.sigma_max, 1)
    ((3, 8, 8), 0.01, 157.4)
    >>> levels = geometric(4, denoiser.sigma_min, denoiser.sigma_max)
    >>> noise = levels[0] * torch.randn(2, *denoiser.shape)
    >>> list(sample(denoiser, noise, levels))[-1].x.shape
    torch.Size([2, 3, 8, 8])
    """
    diffusers = _check.optional("diffusers", "deep")
    pipeline = _load(diffusers, source) if isinstance(source, str | Path) else source
    if not hasattr(pipeline, "unet") or not hasattr(pipeline, "scheduler"):
        raise ValueError(
            f"source is a {type(pipeline).__name__}; expected a pipeline with a unet and a "
            "scheduler, such as diffusers.DDPMPipeline(unet, scheduler), or its folder or name"
        )
    unet, config = pipeline.unet, _unet_config(diffusers, pipeline.unet, condition)
    prediction, sigmas = _chain(pipeline.scheduler)
    size = config.sample_size
    height, width = size if isinstance(size, tuple | list) else (size, size)
    shape = (config.in_channels, height, width)
    return DiffusersDenoiser(_on_the_same_weights(unet), prediction, sigmas, shape, condition)


def _load(diffusers: ModuleType, source: str | Path) -> Any:
    """Load a pipeline from a folder or the hub."""
    try:
        with _no_bar(diffusers.utils.logging):
            return diffusers.DiffusionPipeline.from_pretrained(source)
    except Exception as error:  # of many kinds, from several packages
        advice = "pass a folder that pipeline.save_pretrained(folder) wrote"
        if Path(source).is_dir():
            raise OSError(
                f"the folder {source} holds no usable pipeline ({error}); {advice}"
            ) from error
        raise OSError(
            f"{source} is no folder, and the Hugging Face hub did not give it ({error}). "
            f"Check the name and the network; without a network {advice} elsewhere"
        ) from error


@contextmanager
def _no_bar(logging: ModuleType) -> Iterator[None]:
    """Keep the bar that counts two components out of the notebooks."""
    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            logging.enable_progress_bar()


def _unet_config(diffusers: ModuleType, unet: Any, condition: int | None) -> Any:
    """Configuration of a U-Net that needs at most a class, and has it; others are refused."""
    if not isinstance(unet, diffusers.UNet2DModel):
        raise ValueError(
            f"unet is a {type(unet).__name__}; expected an unconditional UNet2DModel, which needs "
            "nothing but images and a time, or one with a table of classes"
        )
    config = unet.config
    if isinstance(unet.class_embedding, nn.Embedding):
        last = unet.class_embedding.num_embeddings - 1
        if condition is None:
            raise ValueError(
                f"unet is conditional on a class; expected condition=, an integer from 0 to {last}"
            )
        _check.integer("condition", condition, 0, last)
    elif unet.class_embedding is not None:
        raise ValueError(
            f"unet is conditional on a class by class_embed_type {config.class_embed_type}; "
            "expected a table of classes (num_class_embeds) or an unconditional network"
        )
    elif condition is not None:
        raise ValueError(f"condition is {condition}; expected None: the network is unconditional")
    if config.out_channels not in (config.in_channels, 2 * config.in_channels):
        raise ValueError(
            f"unet has {config.in_channels} channels in and {config.out_channels} out; "
            "expected as many out, or twice as many with a learned variance"
        )
    return config


def _chain(scheduler: Any) -> tuple[str, np.ndarray]:
    """What the network was trained to predict, and at which levels, decreasing."""
    signal, config = getattr(scheduler, "alphas_cumprod", None), getattr(scheduler, "config", {})
    if signal is None or config.get("timestep_type") == "continuous":
        raise ValueError(
            f"scheduler is a {type(scheduler).__name__} without alphas_cumprod at whole times; "
            "expected that of a variance-preserving chain, such as DDPMScheduler or DDIMScheduler"
        )
    prediction = config.get("prediction_type")
    if prediction not in _CLEAN:
        raise ValueError(
            f"prediction_type of the scheduler is {prediction!r}; expected {', '.join(_CLEAN)}"
        )
    signal = signal.double().cpu().numpy()
    if config.get("rescale_betas_zero_snr"):
        signal = signal[:-1]  # pure noise, at no finite level; some schedulers write 2^-24
    signal = signal[signal > 0]
    sigmas = _check.sigmas(np.sqrt((1 - signal) / signal)[::-1])
    _check.number("smallest level of the scheduler", sigmas[-1], 0.0, open_low=True)
    sigmas.setflags(write=False)
    return prediction, sigmas


def _on_the_same_weights(network: Any) -> Any:
    """Copy the modules of a network, in evaluation mode, but not its tensors."""
    memo = {id(b): b.detach() for b in network.buffers()}
    memo |= {id(p): torch.nn.Parameter(p.detach(), False) for p in network.parameters()}
    twin = copy.deepcopy(network, memo).eval()
    twin.disable_gradient_checkpointing()  # of no use without a training, and no Jacobian has it
    return twin
