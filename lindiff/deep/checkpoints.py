"""Checkpoints: networks that come with the package, and reading and writing your own.

A checkpoint is one safetensors file: the weights, and as metadata the configuration, a description
of the data, the range of noise levels and measured errors. Nothing in it can run code. A SHA-256 of
all that is stored beside it, by which :func:`read_checkpoint` notices damage anywhere.
"""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from lindiff import _check, _files
from lindiff.deep.patches import CONFIGS, Network

FOLDER = Path(__file__).parent / "weights"


class Checkpoint(NamedTuple):
    """A network in evaluation mode, and what is known about it: a dict of JSON values."""

    network: Network
    metadata: dict[str, Any]


def load(source: str | Path) -> Network:
    """Return a network that comes with the package, or one of your own, in evaluation mode.

    Parameters
    ----------
    source : str or Path
        "mnist" or "photographs", or the path of a file that :func:`write_checkpoint` wrote.

    Returns
    -------
    UNet, Mixer or Transformer
        A denoiser ``network(y, sigma)`` of images ``(n, c, h, w)``, in float32, on the CPU; its
        weights ask for no gradients.

    Examples
    --------
    >>> import torch
    >>> load("mnist")(torch.zeros(2, 1, 28, 28), sigma=0.5).shape
    torch.Size([2, 1, 28, 28])
    """
    return read_checkpoint(source).network


def read_checkpoint(source: str | Path) -> Checkpoint:
    """Return a network, as :func:`load` does, and what is known about it.

    Parameters
    ----------
    source : str or Path
        As for :func:`load`.

    Returns
    -------
    Checkpoint
        ``metadata`` has the keys ``data`` (a description), ``sigma_range`` (smallest and largest
        noise level of training), ``training`` (its settings) and ``metrics`` (measured after
        training) if :func:`~lindiff.deep.training.train` wrote the file.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If the file is damaged, is the state of an unfinished training, or its weights do not fit
        its configuration. It is left alone.

    Examples
    --------
    >>> read_checkpoint("mnist").metadata["sigma_range"]
    [0.02, 20.0]
    """
    path = _path(source)
    tensors, stored = _read_tensors(path)
    if any(key.startswith("adam.") for key in tensors):
        raise ValueError(
            f"{path} is the state of an unfinished training; to end that, call "
            "lindiff.deep.training.train again as it was called"
        )
    try:
        known = {key: json.loads(value) for key, value in stored.items()}
        kind = known.pop("network", "UNet")  # older files hold no name, for there was one kind
        network = CONFIGS[kind](**known.pop("config")).network()
        network.load_state_dict(tensors)
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        raise ValueError(
            f"{path} does not hold a network of this version ({error}); "
            "train it again, or read it with the version of lindiff that wrote it"
        ) from error
    return Checkpoint(network.eval().requires_grad_(False), known)


def write_checkpoint(
    path: str | Path, network: Network, metadata: Mapping[str, Any], *, half: bool = False
) -> None:
    """Write a network as a checkpoint; an existing file is replaced atomically.

    Parameters
    ----------
    path : str or Path
    network : UNet, Mixer or Transformer
    metadata : dict
        JSON values, such as a description of the data; NumPy's become lists and numbers.
    half : bool
        Whether to store the weights in half precision.

    Raises
    ------
    ValueError
        If `network` is neither, or the metadata is not JSON or uses one of the keys ``network``,
        ``config`` and ``sha256``, which are taken.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = f"{folder}/small.safetensors"
    ...     write_checkpoint(path, CONFIGS["UNet"](width=16).network(), {"data": "none"})
    ...     read_checkpoint(path).metadata
    {'data': 'none'}
    """
    kind = type(network).__name__
    if not isinstance(network, Network):
        raise ValueError(f"network is a {kind}; expected one of {', '.join(CONFIGS)}")
    for key in ("network", "config", "sha256"):
        if key in metadata:
            raise ValueError(
                f"metadata has the key {key!r}; expected other keys, for that one is taken"
            )
    known = {"network": kind, "config": network.config.to_dict(), **metadata}
    tensors = network.state_dict()
    _write_tensors(path, {k: v.half() if half else v for k, v in tensors.items()}, known)


def _path(source: str | Path) -> Path:
    """Where a checkpoint is: one of the package by its name, any other by its path."""
    shipped = {path.stem: path for path in FOLDER.glob("*.safetensors")}
    if isinstance(source, str) and source in shipped:
        return shipped[source]
    if not isinstance(source, str | Path) or not Path(source).suffix:
        raise ValueError(
            f"source is {_check.brief(source)}; expected one of {', '.join(sorted(shipped))}, or "
            "the path of a checkpoint, such as mine.safetensors"
        )
    return Path(source)


def _read_tensors(path: str | Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Return the tensors (a dict, on the CPU) and the metadata (a dict of JSON texts) of a file."""
    safetensors = _check.optional("safetensors", "deep")
    if not Path(path).is_file():
        raise FileNotFoundError(f"there is no file {path}")
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            tensors = {key: file.get_tensor(key) for key in file.keys()}
            texts = file.metadata() or {}
        # A file from before there was a digest has none.
        stored = texts.pop("sha256", None)
        if stored not in (None, json.dumps(_digest(tensors, texts))):
            raise ValueError("its content has another SHA-256 than was stored with it")
    except (safetensors.SafetensorError, OSError, ValueError) as error:
        raise ValueError(
            f"{path} is damaged or no safetensors file ({error}); "
            "delete it, or replace it by a good copy"
        ) from error
    return tensors, texts


def _write_tensors(
    path: str | Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, Any]
) -> None:
    """Write tensors and JSON values; a reader sees the old file or the new one, never a half."""
    save = _check.optional("safetensors.torch", "deep").save
    tensors = {key: value.detach().cpu().contiguous() for key, value in tensors.items()}
    texts = {key: _json(key, value) for key, value in metadata.items()}
    texts["sha256"] = json.dumps(_digest(tensors, texts))
    with _files.replacing(path) as temporary:
        temporary.write_bytes(save(tensors, texts))


def _json(name: str, value: Any) -> str:
    """Return a value as JSON, arrays and numbers of NumPy and torch as lists and numbers."""
    try:
        return json.dumps(value, sort_keys=True, default=lambda array: array.tolist())
    except (AttributeError, TypeError, ValueError) as error:
        raise ValueError(
            f"{name} is {value!r:.80}; expected what JSON can hold, such as numbers, strings, and "
            "lists and dicts of them"
        ) from error


def _digest(tensors: Mapping[str, Tensor], texts: Mapping[str, str]) -> str:
    """SHA-256 of all that a file holds."""
    digest = hashlib.sha256(json.dumps(texts, sort_keys=True).encode())
    for key, value in sorted(tensors.items()):
        digest.update(f"{key} {value.dtype} {tuple(value.shape)}".encode())
        digest.update(value.flatten().view(torch.uint8).numpy().data)
    return digest.hexdigest()
