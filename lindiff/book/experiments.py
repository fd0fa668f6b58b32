"""The measurements behind the chapter on Jacobians along generation, and where they are stored.

``python -m lindiff.book.experiments`` (or ``make jacobians``) repeats them:
:func:`~lindiff.deep.trajectories.follow` for the networks that come with the package, and for three
controls of each, on the same starting noise.
"""

import argparse
import copy
import hashlib
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from tqdm import tqdm

from lindiff import _check, _files, data
from lindiff.book import recipes
from lindiff.deep import checkpoints
from lindiff.deep.trajectories import Trajectory, follow
from lindiff.frequency import mean_frequency
from lindiff.gaussian import Gaussian
from lindiff.mixtures import EmpiricalBayes, GaussianMixture
from lindiff.schedules import geometric
from lindiff.subspaces import overlaps
from lindiff.types import Denoiser, Rng

Network = TypeVar("Network", bound=torch.nn.Module)

#: Levels of the sampler, and the places of those at which the Jacobian is measured.
SIGMAS, PLACES = geometric(34, 0.03, 20.0), tuple(range(0, 34, 3))
#: Leading directions, and trajectories for each denoiser.
K, PATHS = 8, 16
NAMES, CASES = ("mnist", "photographs"), ("network", "shuffled", "mixture", "images")
TRANSFORM = {"mnist": "fourier", "photographs": "cosine"}
MINUTES = 15
#: The measurements that come with the package.
STORED = Path(__file__).parent / "results" / "jacobians.npz"


def images(name: str) -> np.ndarray:
    """Return the images that a network of the package was trained on, one per row, float64.

    Parameters
    ----------
    name : str
        "mnist" or "photographs".

    Returns
    -------
    ndarray, shape (n, d)

    Examples
    --------
    >>> images("mnist").shape
    (4500, 784)
    """
    x = recipes.RECIPES[name]().x
    return x.reshape(len(x), -1).astype(float)


def mixture(name: str, x: np.ndarray, rank: int = 60) -> GaussianMixture:
    """Mixture of ten Gaussians fitted to images: a non-linear law with a closed-form Jacobian.

    Digits are split by their label, photographs by their contrast, into ten equal parts.

    Parameters
    ----------
    name : str
        "mnist" or "photographs".
    x : ndarray, shape (n, d)
        As :func:`images` returns them.
    rank : int
        Of each Gaussian.

    Returns
    -------
    GaussianMixture

    Examples
    --------
    >>> law = mixture("mnist", images("mnist"), rank=5)
    >>> len(law.components), law.components[0].rank
    (10, 5)
    """
    if name == "mnist":
        label = data.mnist()[1][: len(x)]
    else:
        contrast = x.std(axis=1)
        label = np.searchsorted(np.quantile(contrast, np.arange(1, 10) / 10), contrast)
    parts = [x[label == k] for k in range(10)]
    return GaussianMixture(
        np.array([len(part) for part in parts]) / len(x),
        [Gaussian.fit(part, rank) for part in parts],
    )


def shuffled(network: Network, *, rng: Rng = None) -> Network:
    """Copy of a network in which the numbers of each weight have changed places at random.

    It has the architecture, and weights of the same size, but has learnt nothing.

    Parameters
    ----------
    network : torch.nn.Module
    rng : numpy.random.Generator, int or None

    Returns
    -------
    torch.nn.Module

    Examples
    --------
    >>> before = torch.nn.Linear(50, 50)
    >>> after = shuffled(before, rng=0)
    >>> bool((before.weight == after.weight).all())
    False
    >>> bool((before.weight.sort().values.sum() - after.weight.sum()).abs() < 1e-4)
    True
    """
    network, rng = copy.deepcopy(network), _check.generator(rng)
    with torch.no_grad():
        for weight in network.parameters():
            order = torch.from_numpy(rng.permutation(weight.numel())).to(weight.device)
            weight.copy_(weight.flatten()[order].reshape(weight.shape))
    return network


def denoiser(name: str, case: str, x: np.ndarray) -> tuple[Denoiser, tuple[int, ...], torch.dtype]:
    """Return a denoiser and the shape and precision of the images that it takes.

    Parameters
    ----------
    name : str
        "mnist" or "photographs".
    case : str
        "network", the network of the package; "shuffled", see :func:`shuffled`; "mixture", see
        :func:`mixture`; or "images", the exact posterior mean if the images `x` are all there is.
    x : ndarray, shape (n, d)
        As :func:`images` returns them.

    Returns
    -------
    denoiser : callable
    shape : tuple of int
    dtype : torch.dtype

    Examples
    --------
    >>> _, shape, dtype = denoiser("mnist", "images", images("mnist"))
    >>> shape, dtype
    ((784,), torch.float64)
    """
    if case in ("network", "shuffled"):
        network, side = checkpoints.load(name), round(x.shape[1] ** 0.5)
        if case == "shuffled":
            network = shuffled(network, rng=np.random.default_rng(0))
        return network, (1, side, side), torch.float32
    law = mixture(name, x) if case == "mixture" else EmpiricalBayes(x)
    return law, x.shape[1:], torch.float64


def trajectory(
    name: str,
    case: str,
    number: int,
    x: np.ndarray,
    basis: np.ndarray,
    *,
    at: Sequence[int] = PLACES,
) -> Trajectory:
    """Follow one of the trajectories of the experiment.

    Parameters
    ----------
    name, case, x
        As for :func:`denoiser`.
    number : int
        Which trajectory; it fixes the starting noise, the same for all cases.
    basis : ndarray, shape (r, d)
        Rows for the gains: principal components of `x`.
    at : sequence of int
        Places in ``SIGMAS``.

    Returns
    -------
    Trajectory

    Examples
    --------
    >>> x = images("mnist")
    >>> path = trajectory("mnist", "network", 0, x, np.eye(784)[:2], at=[0])
    >>> path.sigmas, path.eigenvectors.shape
    (array([20.]), (1, 8, 784))
    """
    function, shape, dtype = denoiser(name, case, x)
    return _trajectory(function, shape, dtype, number, basis, at)


def _trajectory(
    function: Denoiser,
    shape: tuple[int, ...],
    dtype: torch.dtype,
    number: int,
    basis: np.ndarray,
    at: Sequence[int],
) -> Trajectory:
    rng = np.random.default_rng([13, number])
    start = SIGMAS[0] * torch.from_numpy(rng.standard_normal(shape)).to(dtype)
    return follow(function, start, SIGMAS, K, at=at, basis=basis, rng=rng)


def summary(path: Trajectory, basis: np.ndarray, transform: str) -> dict[str, np.ndarray]:
    """Numbers of a path that the figures need, without its pictures.

    Parameters
    ----------
    path : Trajectory
    basis : ndarray, shape (k, d)
        Principal components to compare the directions with.
    transform : str
        For :func:`lindiff.frequency.mean_frequency`.

    Returns
    -------
    dict of ndarray
        Each with one row per level: ``values``, ``gains``, ``trace``, ``trace_error``,
        ``asymmetry``, ``frequency`` of each direction, and the overlaps ``pca_vector``,
        ``pca_subspace``, ``final_vector`` and ``final_subspace``, the last two with the
        directions at the last level.

    Examples
    --------
    >>> path = follow(lambda y, s: y / (1 + s**2), torch.ones(4), [2.0, 1.0, 0.0], 2)
    >>> sorted(summary(path, np.eye(4)[:2], "cosine"))[:3]
    ['asymmetry', 'final_subspace', 'final_vector']
    """
    pca, final = (overlaps(path.eigenvectors, rows) for rows in (basis, path.eigenvectors[-1]))
    levels, k, dim = path.eigenvectors.shape
    frequency = mean_frequency(path.eigenvectors.reshape(-1, dim), transform=transform)
    kept = ("gains", "trace", "trace_error", "asymmetry")
    return {
        "values": path.eigenvalues,
        **{name: getattr(path, name) for name in kept},
        "frequency": frequency.reshape(levels, k),
        "pca_vector": pca.vector,
        "pca_subspace": pca.subspace,
        "final_vector": final.vector,
        "final_subspace": final.subspace,
    }


def measure(name: str, case: str) -> dict[str, np.ndarray]:
    """Follow all trajectories of one case; shows a progress bar on a terminal.

    Parameters
    ----------
    name, case : str
        As for :func:`denoiser`.

    Returns
    -------
    dict of ndarray
        The :func:`summary` of each path, stacked: (paths, levels, ...).
    """
    x = images(name)
    basis = Gaussian.fit(x, K).basis
    what = denoiser(name, case, x)
    numbers = tqdm(range(PATHS), desc=f"{name}, {case}", disable=None)
    rows = [
        summary(_trajectory(*what, number, basis, PLACES), basis, TRANSFORM[name])
        for number in numbers
    ]
    return {key: np.array([row[key] for row in rows]) for key in rows[0]}


def read_measurements(
    path: str | Path = STORED,
) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Read what :func:`main` wrote.

    Parameters
    ----------
    path : str or pathlib.Path, optional
        By default the measurements that come with the package.

    Returns
    -------
    arrays : dict of ndarray
        By ``"name/case/quantity"``, each (paths, levels, ...), half precision; and ``"sigmas"``.
    metadata : dict

    Examples
    --------
    >>> arrays, _ = read_measurements()
    >>> arrays["mnist/network/values"].shape
    (16, 12, 8)
    """
    arrays = _files.read_arrays(path)
    if "metadata" not in arrays:
        raise ValueError(f"{path} holds no measurements; delete it to start again")
    return arrays, json.loads(str(arrays.pop("metadata")))


def _resume(partial: Path, metadata: dict[str, Any]) -> dict[str, np.ndarray]:
    """What an interrupted run has left, if it measured the same networks."""
    if not partial.exists():
        return {"sigmas": SIGMAS[list(PLACES)]}
    arrays, stored = read_measurements(partial)
    if stored != metadata:
        raise ValueError(
            f"{partial} was measured with other networks or cases; delete it to start again"
        )
    return arrays


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure all cases and store them; an interrupted run goes on with the same command.

    If the networks have changed since the interruption it stops, and asks for a fresh start.

    Parameters
    ----------
    arguments : list of str, optional
        Instead of the command line: the file to write, by default the one of the package.
    """
    parser = argparse.ArgumentParser(prog="python -m lindiff.book.experiments", description=__doc__)
    parser.add_argument("path", nargs="?", type=Path, default=STORED, help="file to write")
    path = _files.target(parser.parse_args(arguments).path)
    partial = Path(f"{path}.partial")
    cases = [(name, case) for name in NAMES for case in CASES]
    print(f"{len(cases)} cases, about {MINUTES} minutes on one core", flush=True)
    metadata = {
        "data": "see lindiff.book.experiments",
        "cases": [list(case) for case in cases],
        "sha256": {name: _sha256(checkpoints.FOLDER / f"{name}.safetensors") for name in NAMES},
    }
    arrays = _resume(partial, metadata)
    for name, case in cases:
        if f"{name}/{case}/values" not in arrays:
            for key, value in measure(name, case).items():
                arrays[f"{name}/{case}/{key}"] = value.astype(np.float16)
            with _files.replacing(partial) as temporary, temporary.open("wb") as file:
                stored: dict[str, Any] = {"metadata": json.dumps(metadata), **arrays}
                np.savez_compressed(file, **stored)
    os.replace(partial, path)
    print(f"{path}: {path.stat().st_size / 1e3:.0f} kB")


if __name__ == "__main__":
    main()
