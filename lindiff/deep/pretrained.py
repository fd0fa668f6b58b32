"""Checkpoints: networks that come with the package, and reading and writing your own.

A checkpoint is one safetensors file: the weights, and as metadata the configuration, a description
of the data, the range of noise levels and measured errors. Nothing in it can run code. What
:func:`write` writes has a SHA-256 of all that, by which :func:`read` notices damage anywhere; the
files that come with the package are older and have none.
"""

import json
from pathlib import Path
from typing import NamedTuple

from lindiff.deep import _files
from lindiff.deep.networks import Config, UNet

FOLDER = Path(__file__).parent / "checkpoints"


class Checkpoint(NamedTuple):
    """A network in evaluation mode, and what is known about it: a dict of JSON values."""

    network: UNet
    metadata: dict


def names():
    """Return the names that :func:`load` knows.

    Returns
    -------
    list of str

    Examples
    --------
    >>> names()
    ['mnist', 'photographs']
    """
    return sorted(path.stem for path in FOLDER.glob("*.safetensors"))


def load(name):
    """Return a network that comes with the package, in float32 and evaluation mode.

    Parameters
    ----------
    name : str
        One of :func:`names`.

    Returns
    -------
    UNet
        A denoiser ``network(y, sigma)`` of images ``(n, 1, h, w)``.

    Raises
    ------
    ValueError
        If there is no such network, or its file is damaged.

    Examples
    --------
    >>> import torch
    >>> load("mnist")(torch.zeros(2, 1, 28, 28), sigma=0.5).shape
    torch.Size([2, 1, 28, 28])
    """
    return read(_path(name)).network


def metadata(name):
    """Return what is known about a network that comes with the package.

    Parameters
    ----------
    name : str
        One of :func:`names`.

    Returns
    -------
    dict
        With the keys ``data`` (a description), ``sigma_range`` (smallest and largest noise level
        of training), ``training`` (its settings) and ``metrics`` (measured after training).

    Raises
    ------
    ValueError
        If there is no such network, or its file is damaged.

    Examples
    --------
    >>> metadata("mnist")["sigma_range"]
    [0.02, 20.0]
    """
    return read(_path(name)).metadata


def _path(name):
    if name not in names():
        raise ValueError(
            f"name is {name!r}; expected one of {', '.join(names())}, "
            "or for a file of your own: lindiff.deep.pretrained.read(path)"
        )
    return FOLDER / f"{name}.safetensors"


def read(path):
    """Read a checkpoint that :func:`write` wrote.

    Parameters
    ----------
    path : str or Path

    Returns
    -------
    Checkpoint
        The network in float32, evaluation mode, on the CPU; its weights ask for no gradients.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If the file is damaged, is the state of an unfinished training, or its weights do not fit
        its configuration. It is left alone.

    Examples
    --------
    >>> read(FOLDER / "mnist.safetensors").network.config.channels
    1
    """
    tensors, stored = _files.read(path)
    if any(key.startswith("adam.") for key in tensors):
        raise ValueError(
            f"{path} is the state of an unfinished training; to end that, call "
            "lindiff.deep.training.train again as it was called"
        )
    try:
        known = {key: json.loads(value) for key, value in stored.items()}
        network = UNet(Config(**known.pop("config")))
        network.load_state_dict(tensors)
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        raise ValueError(
            f"{path} does not hold a network of this version ({error}); "
            "train it anew, or read it with the version of lindiff that wrote it"
        ) from error
    return Checkpoint(network.eval().requires_grad_(False), known)


def write(path, network, metadata):
    """Write a network as a checkpoint; a file that is there is replaced at once or not at all.

    Parameters
    ----------
    path : str or Path
    network : UNet
    metadata : dict
        JSON values, such as a description of the data; NumPy's become lists and numbers.

    Raises
    ------
    ValueError
        If `network` is no UNet, or the metadata is not JSON or uses one of the keys ``config`` and
        ``sha256``, which are taken.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     write(f"{folder}/small.safetensors", UNet(Config(width=16)), {"data": "none"})
    ...     read(f"{folder}/small.safetensors").metadata
    {'data': 'none'}
    """
    if not isinstance(network, UNet):
        raise ValueError(
            f"network is a {type(network).__name__}; expected a lindiff.deep.networks.UNet"
        )
    for key in ("config", "sha256"):
        if key in metadata:
            raise ValueError(
                f"metadata has the key {key!r}; expected other keys, for that one is taken"
            )
    known = {"config": network.config.to_dict(), **metadata}
    _files.write(path, network.state_dict(), known)
