r"""Training of denoisers: one loop, on a CPU, a GPU, or several processes.

Step k uses images, noise levels and noise that depend only on (seed, k): a run that was interrupted
goes on as if nothing had happened, and several processes share the batch that one would have.

The trainings of the networks that come with the package are in :mod:`lindiff.book.recipes`.
"""

import functools
import hashlib
import json
import math
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from tqdm import tqdm

from lindiff import _check, _files
from lindiff.deep.checkpoints import _json, _read_tensors, _write_tensors, write_checkpoint
from lindiff.deep.patches import Network, NetworkConfig

# Augmentation: a function ``(images, sigma, rng)`` that returns images.
Augment: TypeAlias = Callable[[np.ndarray, np.ndarray, np.random.Generator], np.ndarray]

SIGMA_RANGE = (0.02, 20.0)
_WARMUP, _EMA, _CLIP = 100, 0.999, 1.0


def train(
    config: NetworkConfig,
    x: npt.ArrayLike,
    path: str | Path,
    *,
    steps: int,
    seed: int,
    batch: int = 64,
    rate: float = 1.5e-3,
    sigma_range: tuple[float, float] = SIGMA_RANGE,
    augment: Augment | None = None,
    evaluate: Callable[[Network], Any] | None = None,
    description: str = "",
    save_every: int = 250,
    half: bool = False,
) -> Network:
    r"""Train a network, going on where an earlier call with the same arguments was interrupted.

    Minimises :math:`\mathbb E\,w(\sigma)|D(x+\sigma\varepsilon)-x|^2` with the weight
    :math:`w=(\sigma^2+\sigma_d^2)/(\sigma\sigma_d)^2` of Karras et al. [2022] and log-uniform,
    stratified noise levels, by Adam with a learning rate that rises for 100 steps and falls like a
    cosine. The result is an exponential average of the weights. accelerate chooses the device.
    Started by ``accelerate launch`` (GPUs) or, with ``ACCELERATE_USE_CPU=true``, by ``torchrun``,
    the processes share each batch.

    Parameters
    ----------
    config : Config, MixerConfig or TransformerConfig
        What to train: a :class:`~lindiff.deep.networks.UNet`, or a network of
        :mod:`lindiff.deep.patches`.
    x : array_like, shape (n, c, h, w)
        Clean images.
    path : str or Path
        The checkpoint to write. Until that is done, ``<path>.partial`` keeps the state; after it,
        the same call trains from scratch.
    steps, seed, batch : int
    rate : float
        Largest learning rate.
    sigma_range : pair of float
        Smallest and largest noise level, in units of the data.
    augment : callable, optional
        ``augment(images, sigma, rng)`` returns a batch (batch, c, h, w) of the same shape; `sigma`
        is (batch,). Before a training goes on, only its name (and the arguments of a
        ``functools.partial``) is compared: what it does, and which lambda or object of a class it
        is, is for you to keep the same.
    evaluate : callable, optional
        ``evaluate(network)`` returns JSON values, to be stored as ``metrics``. NumPy's become
        lists and numbers. If it fails, the same call goes on there, without a step more.
    description : str
        What the data are, to be stored.
    save_every : int
        Steps between two writings of the state.
    half : bool
        Whether to round the weights to half precision at the end and store them so, in half the
        space. The network computes in float32 all the same.

    Returns
    -------
    UNet, Mixer or Transformer
        On the CPU, in evaluation mode; its weights ask for no gradients.

    Raises
    ------
    ValueError
        If an argument is out of its range, `path` cannot be written to, what `augment` or
        `evaluate` returns does not fit, or ``<path>.partial`` is damaged or was left by a call with
        other arguments. That file is left alone.
    FloatingPointError
        If the loss or the weights are no longer finite. Nothing is stored of that.

    Examples
    --------
    >>> import tempfile
    >>> from lindiff.deep.networks import Config
    >>> x = np.zeros((16, 1, 8, 8))
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = f"{folder}/small.safetensors"
    ...     network = train(Config(width=16, deep_width=16), x, path, steps=2, seed=0, batch=8)
    >>> network.training
    False
    """
    x, (low, high) = _images(config, x), _range(sigma_range)
    settings = _settings(x, steps, seed, batch, rate, augment)
    steps, seed, batch = (settings[name] for name in ("steps", "seed", "batch"))
    known = {"config": config.to_dict(), "sigma_range": [low, high], "training": settings}
    save_every = _check.integer("save_every", save_every, 1)
    _json("description", description)
    partial = _files.target(f"{_files.target(path)}.partial")
    accelerator = _check.optional("accelerate", "deep").Accelerator()
    share = _share(batch, accelerator)
    network, average = _initial(config, seed, accelerator)
    optimizer = torch.optim.Adam(network.parameters(), lr=rate, betas=(0.9, 0.99))
    start = _resume(partial, known, network, average, optimizer)
    model, optimizer = accelerator.prepare(network, optimizer)
    for k in _progress(start, steps, path, accelerator):
        drawn = draw_batch(x, k, seed=seed, batch=batch, sigma_range=(low, high), augment=augment)
        clean, sigma, noise = (torch.from_numpy(a[share]).to(accelerator.device) for a in drawn)
        for group in optimizer.param_groups:
            group["lr"] = rate * _schedule(k, steps)
        optimizer.zero_grad()
        loss = weighted_loss(model, clean, sigma, noise, config.sigma_data)
        _finite("loss", [loss], k, rate, partial)
        accelerator.backward(loss)
        accelerator.clip_grad_norm_(model.parameters(), _CLIP)
        optimizer.step()
        _update(average, network, k)
        if (k + 1) % save_every == 0 or k + 1 == steps:
            _finite("average of the weights", average.parameters(), k, rate, partial)
            if accelerator.is_main_process:
                _save(partial, known, network, average, optimizer, k + 1)
    average = average.cpu().eval()
    if half:
        average.load_state_dict({k: v.half() for k, v in average.state_dict().items()})
    if accelerator.is_main_process:
        known |= {"data": description, "metrics": evaluate(average) if evaluate else {}}
        write_checkpoint(
            path, average, {k: v for k, v in known.items() if k != "config"}, half=half
        )
        partial.unlink(missing_ok=True)
    accelerator.wait_for_everyone()
    return average


def draw_batch(
    x: np.ndarray,
    k: int,
    *,
    seed: int,
    batch: int,
    sigma_range: tuple[float, float],
    augment: Augment | None = None,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return images, noise levels and noise of step `k`: a function of the seed and k alone.

    Parameters
    ----------
    x : ndarray, shape (n, c, h, w)
    k, seed, batch : int
    sigma_range : pair of float
    augment : callable, optional
        As for :func:`train`.

    Returns
    -------
    images : ndarray of float32, shape (batch, c, h, w)
    sigma : ndarray of float32, shape (batch,)
        One level in each of `batch` parts of the range of equal ratio, in random order.
    noise : ndarray of float32, shape (batch, c, h, w)
        Standard Gaussian.

    Examples
    --------
    >>> x = np.zeros((5, 1, 8, 8))
    >>> images, sigma, noise = draw_batch(x, 7, seed=0, batch=2, sigma_range=(0.01, 1.0))
    >>> sigma.shape, bool(sigma.min() < 0.1 < sigma.max())
    ((2,), True)
    """
    rng = np.random.default_rng([seed, k])
    images = x[rng.integers(len(x), size=batch)]
    low, high = sigma_range
    level = (rng.permutation(batch) + rng.random(batch)) / batch
    sigma = (low * (high / low) ** level).astype(np.float32)
    noise = rng.standard_normal(images.shape, dtype=np.float32)
    if augment is not None:
        images = augment(images, sigma, rng)
        what = f"the {type(images).__name__} that augment returned"
        _check.same_shape(what, np.shape(images), noise.shape)
        images = _check.array(what, images, noise.ndim, np.float32)
    return np.ascontiguousarray(images, dtype=np.float32), sigma, noise


def weighted_loss(
    denoiser: Callable[[Tensor, Tensor], Tensor],
    clean: Tensor,
    sigma: Tensor,
    noise: Tensor,
    sigma_data: float,
) -> Tensor:
    """Mean squared error, weighted so that every noise level counts the same [Karras et al. 2022].

    Parameters
    ----------
    denoiser : callable
    clean, noise : Tensor, shape (n, c, h, w) or (n, ...)
    sigma : Tensor, shape (n,)
    sigma_data : float
        Standard deviation of the data.

    Returns
    -------
    Tensor, shape ()
        About 1 for a denoiser that knows the variance of the data and nothing else.

    Examples
    --------
    >>> zeros, sigma = torch.zeros(1, 1, 4, 4), torch.ones(1)
    >>> float(weighted_loss(lambda y, sigma: y, zeros, sigma, zeros + 1, sigma_data=1.0))
    2.0
    """
    level = sigma.reshape(-1, *[1] * (clean.ndim - 1))
    error = denoiser(clean + level * noise, sigma) - clean
    return ((1 / level**2 + 1 / sigma_data**2) * error**2).mean()


def _images(config: NetworkConfig, x: npt.ArrayLike) -> np.ndarray:
    x = _check.array("x", x, 4, np.float32)
    if len(x) == 0 or x.shape[1] != config.channels:
        raise ValueError(f"x has shape {x.shape}; expected (n >= 1, {config.channels}, h, w)")
    return x


def _range(sigma_range: tuple[float, float]) -> tuple[float, float]:
    low, high = sigma_range
    low = _check.number("sigma_range[0]", low, 0.0, open_low=True)
    return low, _check.number("sigma_range[1]", high, low, open_low=True)


def _settings(
    x: np.ndarray, steps: int, seed: int, batch: int, rate: float, augment: Augment | None
) -> dict[str, Any]:
    return {
        "steps": _check.integer("steps", steps, 1),
        "seed": _check.integer("seed", seed, 0),
        "batch": _check.integer("batch", batch, 1),
        "rate": _check.number("rate", rate, 0.0, open_low=True),
        "augment": _name(augment),
        "data_sha256": hashlib.sha256(x.tobytes()).hexdigest(),
    }


def _name(augment: Augment | None) -> str | None:
    """What tells one augmentation from another; no module: that of a command is ``__main__``."""
    if isinstance(augment, functools.partial):
        return f"{_name(augment.func)}, {augment.args}, {augment.keywords}"
    return None if augment is None else getattr(augment, "__qualname__", type(augment).__name__)


def _finite(name: str, tensors: Iterable[Tensor], k: int, rate: float, partial: Path) -> None:
    """Stop a training that has come to nothing, before it is stored."""
    if not all(bool(tensor.isfinite().all()) for tensor in tensors):
        left = f"the state before is in {partial}: delete it" if partial.exists() else "start again"
        raise FloatingPointError(
            f"the {name} at step {k} is not finite: the training diverges, and nothing of it was "
            f"stored; {left}, and take a smaller rate than {rate}"
        )


def _progress(start: int, steps: int, path: str | Path, accelerator: Any) -> Iterable[int]:
    """The numbers of the steps, with a bar where somebody can see it."""
    hidden = None if accelerator.is_main_process else True  # None: shown on terminals only
    label = Path(path).stem
    return tqdm(range(start, steps), initial=start, total=steps, disable=hidden, desc=label)


def _share(batch: int, accelerator: Any) -> slice:
    """The part of each batch that this process takes."""
    processes = accelerator.num_processes
    if batch % processes:
        raise ValueError(f"batch is {batch}; expected a multiple of the {processes} processes")
    return slice(accelerator.process_index, None, processes)


def _initial(config: NetworkConfig, seed: int, accelerator: Any) -> tuple[Network, Network]:
    """The network and its average; the caller's random state stays as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = config.network()
        average = config.network().requires_grad_(False)
    average.load_state_dict(network.state_dict())
    return network.to(accelerator.device), average.to(accelerator.device)


def _schedule(k: int, steps: int) -> float:
    return min(1.0, (k + 1) / _WARMUP) * 0.5 * (1 + math.cos(math.pi * k / steps))


@torch.no_grad()
def _update(average: Network, network: Network, k: int) -> None:
    decay = min(_EMA, (1 + k) / (10 + k))  # short at first: forget the random start
    for mean, new in zip(average.parameters(), network.parameters(), strict=True):
        mean.lerp_(new, 1 - decay)


def _save(
    partial: Path,
    known: Mapping[str, Any],
    network: Network,
    average: Network,
    optimizer: torch.optim.Optimizer,
    step: int,
) -> None:
    tensors = {f"network.{key}": value for key, value in network.state_dict().items()}
    tensors |= {f"average.{key}": value for key, value in average.state_dict().items()}
    for i, state in optimizer.state_dict()["state"].items():
        tensors |= {f"adam.{i}.{key}": value for key, value in state.items()}
    _write_tensors(partial, tensors, {**known, "step": step})


def _resume(
    partial: Path,
    known: Mapping[str, Any],
    network: Network,
    average: Network,
    optimizer: torch.optim.Optimizer,
) -> int:
    """Bring back the state that an interrupted run left, and return the step to go on with."""
    if not partial.exists():
        return 0
    tensors, stored = _read_tensors(partial)
    for key, value in known.items():
        now = json.dumps(value, sort_keys=True)
        if stored.get(key) != now:
            raise ValueError(
                f"{partial} was left by a training with another {key}: {stored.get(key)}; now it "
                f"is {now}. Repeat that call to resume, or delete the file to start again"
            )
    shapes = {key: tuple(value.shape) for key, value in tensors.items()}
    wrong = sorted(dict(shapes.items() ^ _layout(network).items()))
    if wrong or "step" not in stored:
        what = wrong[0] if wrong else "step"
        raise ValueError(
            f"{partial} is no complete state of a training (see {what}); delete it to start again"
        )
    network.load_state_dict(_part(tensors, "network."))
    average.load_state_dict(_part(tensors, "average."))
    count = len(list(network.parameters()))
    state = {i: _part(tensors, f"adam.{i}.") for i in range(count)}
    groups = optimizer.state_dict()["param_groups"]
    optimizer.load_state_dict({"state": state, "param_groups": groups})
    return json.loads(stored["step"])


def _layout(network: Network) -> dict[str, tuple[int, ...]]:
    """Names and shapes of everything that a state holds."""
    weights = {key: tuple(value.shape) for key, value in network.state_dict().items()}
    layout = {f"{part}.{k}": v for part in ("network", "average") for k, v in weights.items()}
    for i, parameter in enumerate(network.parameters()):
        shape = tuple(parameter.shape)
        layout |= {f"adam.{i}.exp_avg": shape, f"adam.{i}.exp_avg_sq": shape, f"adam.{i}.step": ()}
    return layout


def _part(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}
