"""The measurements behind the chapters on Jacobians, and where they are stored.

``python -m lindiff.book.experiments`` (or ``make jacobians``) repeats them, for the networks that
come with the package (:mod:`lindiff.book.recipes`), for two exact laws, and for networks that have
learnt nothing: their Jacobians along generation, and at noisy images that no network has seen.
"""

import argparse
import copy
import hashlib
import json
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import joblib
import numpy as np
import torch

from lindiff import _check, _files, data
from lindiff.book import recipes
from lindiff.deep import checkpoints
from lindiff.deep.jacobian import Jacobian
from lindiff.deep.trajectories import Trajectory, follow
from lindiff.denoisers import LinearDenoiser
from lindiff.frequency import mean_frequency
from lindiff.gaussian import Gaussian
from lindiff.mixtures import EmpiricalBayes, GaussianMixture
from lindiff.schedules import geometric
from lindiff.subspaces import overlaps
from lindiff.types import Denoiser, Rng

Network = TypeVar("Network", bound=torch.nn.Module)

#: Levels of the sampler, and the places of those at which the Jacobian is measured.
SIGMAS, PLACES = geometric(34, 0.03, 20.0), tuple(range(0, 34, 3))
#: Levels of the noisy images.
POINT_SIGMAS = (0.05, 0.2, 0.8, 1.6, 3.2, 6.4, 20.0)
#: Leading directions, principal components for the gains, trajectories, noisy images, probes.
K, GAINS, PATHS, POINTS, PROBES = 6, 20, 6, 12, 16
TRANSFORM = {"digits": "fourier", "photographs": "cosine", "colour": "cosine"}
#: Photographs that no network was trained on, from which the noisy images are cut.
PICTURES = {
    "photographs": ("camera", "chelsea", "china", "flower"),
    "colour": ("chelsea", "flower"),
}
MINUTES = 90
#: The measurements that come with the package.
STORED = Path(__file__).parent / "results" / "jacobians.npz"


def cases(data_set: str) -> tuple[str, ...]:
    """Return the names of all denoisers that are measured on one kind of images.

    ``unet-images-0``, …, ``mixer-twin-2`` are networks of the family; ``large`` is the
    network that was trained longest; ``memory`` and ``mixture`` are exact laws; ``shuffled-0``, …
    are copies of ``unet-images-0`` that have lost what they learnt, see :func:`shuffled`; ``50-0``,
    …, ``2250-1`` have seen that many digits.

    Parameters
    ----------
    data_set : str
        "digits", "photographs" or "colour".

    Returns
    -------
    tuple of str

    Examples
    --------
    >>> len(cases("digits")), cases("colour")[-2:]
    (24, ('shuffled-1', 'shuffled-2'))
    """
    prefix = f"{data_set}-"
    family = [name.removeprefix(prefix) for name in recipes.FAMILY if name.startswith(prefix)]
    large = [] if data_set == "colour" else ["large"]
    return (*family, *large, "memory", "mixture", *(f"shuffled-{k}" for k in range(3)))


def images(data_set: str) -> np.ndarray:
    """Return the images that the networks were trained on, one per row, float64.

    Parameters
    ----------
    data_set : str
        "digits", "photographs" or "colour".

    Returns
    -------
    ndarray, shape (n, d)

    Examples
    --------
    >>> images("digits").shape
    (4500, 784)
    """
    x = recipes.family_images(data_set)[0]
    return x.reshape(len(x), -1).astype(float)


def mixture(data_set: str, x: np.ndarray, rank: int = 60) -> GaussianMixture:
    """Mixture of ten Gaussians fitted to images: a non-linear law with a closed-form Jacobian.

    Digits are split by their label, patches of photographs by their contrast, into ten equal parts.

    Parameters
    ----------
    data_set : str
        "digits", "photographs" or "colour".
    x : ndarray, shape (n, d)
        As :func:`images` returns them.
    rank : int
        Of each Gaussian.

    Returns
    -------
    GaussianMixture

    Examples
    --------
    >>> law = mixture("digits", images("digits"), rank=5)
    >>> len(law.components), law.components[0].rank
    (10, 5)
    """
    if data_set == "digits":
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


def checkpoint(data_set: str, case: str) -> str | None:
    """Return the name of the network of a case, None for exact laws.

    Parameters
    ----------
    data_set, case : str
        One of :func:`cases`.

    Returns
    -------
    str or None

    Examples
    --------
    >>> checkpoint("digits", "50-0"), checkpoint("digits", "large"), checkpoint("digits", "memory")
    ('digits-50-0', 'mnist', None)
    """
    if case not in cases(data_set):
        raise ValueError(f"case is {case!r}; expected one of {', '.join(cases(data_set))}")
    if case in ("memory", "mixture"):
        return None
    if case == "large":
        return {"digits": "mnist", "photographs": "photographs"}[data_set]
    return f"{data_set}-{'unet-images-0' if case.startswith('shuffled') else case}"


def denoiser(data_set: str, case: str, x: np.ndarray) -> tuple[Denoiser, torch.dtype]:
    """Return a denoiser of images (n, c, h, w) and the precision that it works in.

    Parameters
    ----------
    data_set, case : str
        One of :func:`cases`.
    x : ndarray, shape (n, d)
        As :func:`images` returns them.

    Returns
    -------
    denoiser : callable
    dtype : torch.dtype

    Examples
    --------
    >>> denoiser("digits", "memory", images("digits"))[1]
    torch.float64
    """
    name = checkpoint(data_set, case)
    if name is not None:
        network = checkpoints.load(name)
        if case.startswith("shuffled"):
            network = shuffled(network, rng=int(case[-1]))
        return network, torch.float32
    law = EmpiricalBayes(x) if case == "memory" else mixture(data_set, x)

    def of_images(y: Any, sigma: float) -> Any:
        return law(y.flatten(1), sigma).reshape(y.shape)

    return of_images, torch.float64


class Setting(NamedTuple):
    """What the measurements of one data set share.

    `x` (n, d) are the images of training, of `shape` (c, h, w), and `law` is the Gaussian with
    their mean and covariance.
    """

    data_set: str
    x: np.ndarray
    shape: tuple[int, ...]
    law: Gaussian


def setting(data_set: str) -> Setting:
    """Return what the measurements of one data set share.

    Parameters
    ----------
    data_set : str
        "digits", "photographs" or "colour".

    Returns
    -------
    Setting

    Examples
    --------
    >>> setting("colour").shape
    (3, 16, 16)
    """
    x, shape = images(data_set), recipes.family_images(data_set)[0].shape[1:]
    return Setting(data_set, x, shape, Gaussian.fit(x))


def trajectory(
    where: Setting,
    case: str,
    number: int,
    *,
    at: Sequence[int] | None = None,
) -> Trajectory:
    """Follow one of the trajectories of the experiment.

    It starts from a draw of the Gaussian law of the images, with noise: a start from noise alone
    would lose the leading components where their variance is not small against that of the noise.

    Parameters
    ----------
    where : Setting
    case : str
        One of :func:`cases`.
    number : int
        Which trajectory; it fixes the start, the same for all cases.
    at : sequence of int, optional
        Places in ``SIGMAS``, by default ``PLACES``.

    Returns
    -------
    Trajectory

    Examples
    --------
    >>> path = trajectory(setting("digits"), "memory", 0, at=[0])
    >>> path.sigmas, path.eigenvectors.shape
    (array([20.]), (1, 6, 784))
    """
    function, dtype = denoiser(where.data_set, case, where.x)
    rng = np.random.default_rng([13, number])
    start = where.law.sample(1, rng=rng)[0]
    start = start + SIGMAS[0] * rng.standard_normal(start.shape)
    y = torch.from_numpy(start.reshape(where.shape)).to(dtype)
    at = PLACES if at is None else at
    basis = where.law.basis[:GAINS]
    return follow(function, y, SIGMAS, K, at=at, basis=basis, n_probes=PROBES, rng=rng)


def summary(path: Trajectory, where: Setting) -> dict[str, np.ndarray]:
    """Numbers of a path that the figures need, without its pictures.

    Parameters
    ----------
    path : Trajectory
    where : Setting

    Returns
    -------
    dict of ndarray
        Each with one row per level: ``values``, ``gains``, ``trace``, ``trace_error``,
        ``asymmetry``, ``frequency`` of each direction, and the overlaps ``pca_vector``,
        ``pca_subspace``, ``final_vector`` and ``final_subspace``, the last two with the directions
        at the last level; and ``sample``, the image at the end.

    Examples
    --------
    >>> where = setting("digits")
    >>> found = summary(trajectory(where, "memory", 0, at=[0]), where)
    >>> found["frequency"].shape, bool(found["final_vector"].min() > 0.999)
    ((1, 6), True)
    """
    pca, final = (
        overlaps(path.eigenvectors, rows) for rows in (where.law.basis[:K], path.eigenvectors[-1])
    )
    frequencies = [
        mean_frequency(rows, where.shape, transform=TRANSFORM[where.data_set])
        for rows in path.eigenvectors
    ]
    kept = ("gains", "trace", "trace_error", "asymmetry")
    return {
        "values": path.eigenvalues,
        **{name: getattr(path, name) for name in kept},
        "frequency": np.array(frequencies),
        "pca_vector": pca.vector,
        "pca_subspace": pca.subspace,
        "final_vector": final.vector,
        "final_subspace": final.subspace,
        "sample": path.sample.ravel(),
    }


def noisy_images(where: Setting, case: str) -> tuple[np.ndarray, np.ndarray]:
    """Return images that no network has seen, and white noise to add to them.

    Networks on a twin are given draws of its law. Patches of photographs come from ``PICTURES``, as
    many from each, one picture after the other.

    Parameters
    ----------
    where : Setting
    case : str
        One of :func:`cases`.

    Returns
    -------
    clean : ndarray, shape (POINTS, d)
    noise : ndarray, shape (POINTS, d)

    Examples
    --------
    >>> noisy_images(setting("digits"), "memory")[0].shape
    (12, 784)
    """
    rng = np.random.default_rng(19)
    noise = rng.standard_normal((POINTS, where.x.shape[1]))
    if "twin" in case:
        return where.law.sample(POINTS, rng=rng), noise
    if where.data_set == "digits":
        held_out = recipes.family_images("digits")[1]
        return held_out[:POINTS].reshape(POINTS, -1).astype(float), noise
    cut = data.patches if where.data_set == "photographs" else data.colour_patches
    pictures = PICTURES[where.data_set]
    count = POINTS // len(pictures)
    clean = [cut(where.shape[1], count, picture=name, rng=rng) for name in pictures]
    return np.concatenate(clean), noise


def point(where: Setting, case: str, number: int, sigma: float) -> dict[str, Any]:
    r"""Measure the Jacobian at one noisy image.

    Parameters
    ----------
    where : Setting
    case : str
        One of :func:`cases`.
    number : int
        Which of the :func:`noisy_images`.
    sigma : float
        Noise standard deviation.

    Returns
    -------
    dict
        ``values`` (K,), ``pca_subspace`` (K,), ``trace``, ``asymmetry``, ``to_wiener``, which is
        :math:`\|J-W\|_F/\|W\|_F` with Wiener's matrix W of the images, estimated with random signs,
        ``error`` and ``wiener_error``, the squared errors of the denoiser and of Wiener's, and
        ``errors`` (K,), the part of ``error`` along each of the leading directions.

    Examples
    --------
    >>> found = point(setting("digits"), "mixture", 0, 20.0)
    >>> bool(found["pca_subspace"][5] > 0.9), bool(found["asymmetry"] < 1e-6)
    (True, True)
    """
    return _point(where, denoiser(where.data_set, case, where.x), case, number, sigma)


def _point(
    where: Setting, what: tuple[Denoiser, torch.dtype], case: str, number: int, sigma: float
) -> dict[str, Any]:
    clean, noise = (rows[number] for rows in noisy_images(where, case))
    y, wiener = clean + sigma * noise, LinearDenoiser(where.law)
    image = torch.from_numpy(y.reshape(where.shape)).to(what[1])
    jacobian = Jacobian(what[0], image, sigma, check=False)
    rng = np.random.default_rng([19, number])
    pairs = jacobian.eigh(K, rng=rng)
    probes = rng.choice([-1.0, 1.0], size=(PROBES, len(y)))
    ahead, back = jacobian.jv(probes), jacobian.vj(probes)
    linear = ((probes @ where.law.basis.T) * wiener.gains(sigma)) @ where.law.basis
    # the leading directions have most of the trace; only the rest of it is left to chance
    inside = pairs.eigenvectors
    rest = probes - (probes @ inside.T) @ inside
    known = pairs.eigenvalues.sum()
    symmetric = (ahead + back) / 2
    outside = symmetric - (probes @ inside.T * pairs.eigenvalues) @ inside
    size = ((ahead**2).sum() + (back**2).sum()) / 2
    residual = jacobian.denoised.double().numpy().ravel() - clean
    return {
        "values": pairs.eigenvalues,
        "pca_subspace": overlaps(inside, where.law.basis[:K]).subspace,
        "trace": known + (rest * outside).sum(axis=1).mean(),
        "asymmetry": np.sqrt(((ahead - back) ** 2).sum() / size) if size else np.nan,
        "to_wiener": np.sqrt(((ahead - linear) ** 2).sum() / (linear**2).sum()),
        "error": (residual**2).sum(),
        "errors": (inside @ residual) ** 2,
        "wiener_error": ((wiener(y[None], sigma)[0] - clean) ** 2).sum(),
    }


def measure(kind: str, where: Setting, case: str) -> dict[str, np.ndarray]:
    """Make all measurements of one kind of one case.

    Parameters
    ----------
    kind : str
        "path", trajectories, or "point", noisy images.
    where : Setting
    case : str
        One of :func:`cases`.

    Returns
    -------
    dict of ndarray
        What :func:`summary` says of each path, (paths, levels, ...), or :func:`point` of each
        image, (images, levels, ...).
    """
    if kind == "path":
        rows: list[Any] = [summary(trajectory(where, case, n), where) for n in range(PATHS)]
        return {key: np.array([row[key] for row in rows]) for key in rows[0]}
    what = denoiser(where.data_set, case, where.x)
    rows = [[_point(where, what, case, n, s) for s in POINT_SIGMAS] for n in range(POINTS)]
    return {key: np.array([[one[key] for one in row] for row in rows]) for key in rows[0][0]}


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
        By ``"path/data set/case/quantity"`` (paths, levels, ...) and, for the networks that have
        learnt images or their twin, ``"point/data set/case/quantity"`` (images, levels, ...), half
        precision; and their levels, ``"sigmas"`` and ``"point_sigmas"``.
    metadata : dict
        The SHA-256 of each network file that was measured.

    Examples
    --------
    >>> arrays, _ = read_measurements()
    >>> arrays["path/digits/memory/values"].shape, arrays["point/colour/mixer-twin-0/values"].shape
    ((6, 12, 6), (12, 7, 6))
    """
    arrays = _files.read_arrays(path)
    if "metadata" not in arrays:
        raise ValueError(f"{path} holds no measurements; delete it to start again")
    return arrays, json.loads(str(arrays.pop("metadata")))


def _sha256(data_set: str, case: str) -> dict[str, str]:
    name = checkpoint(data_set, case)
    if name is None:
        return {}
    content = (checkpoints.FOLDER / f"{name}.safetensors").read_bytes()
    return {name: hashlib.sha256(content).hexdigest()}


def _part(folder: Path, kind: str, data_set: str, case: str) -> Path:
    return folder / f"{kind}-{data_set}-{case}.npz"


def _store(folder: Path, kind: str, data_set: str, case: str) -> None:
    """Measure one case, unless an interrupted run has left it, of the same network."""
    path, known = _part(folder, kind, data_set, case), _sha256(data_set, case)
    if path.exists() and read_measurements(path)[1] == known:
        return
    torch.set_num_threads(1)
    arrays = measure(kind, setting(data_set), case)
    small = {
        f"{kind}/{data_set}/{case}/{key}": np.clip(value, -6e4, 6e4).astype(np.float16)
        for key, value in arrays.items()
    }
    _write(path, small, known)


def _write(path: Path, arrays: dict[str, np.ndarray], metadata: dict[str, str]) -> None:
    with _files.replacing(path) as temporary, temporary.open("wb") as file:
        content: dict[str, Any] = {"metadata": json.dumps(metadata, sort_keys=True), **arrays}
        np.savez_compressed(file, **content)


def _tasks() -> Iterator[tuple[str, str, str]]:
    for data_set in recipes.DATA_SETS:
        for case in cases(data_set):
            yield "path", data_set, case
            if f"{data_set}-{case}" in recipes.FAMILY and case.split("-")[1] in recipes.LAWS:
                yield "point", data_set, case


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure all cases and store them; an interrupted run goes on with the same command.

    What belongs to a network that has changed since the interruption is measured again.

    Parameters
    ----------
    arguments : list of str, optional
        Instead of the command line: the file to write, by default the one of the package, and
        ``--workers`` for the number of processes.
    """
    parser = argparse.ArgumentParser(prog="python -m lindiff.book.experiments", description=__doc__)
    parser.add_argument("path", nargs="?", type=Path, default=STORED, help="file to write")
    parser.add_argument("--workers", type=int, default=1, help="processes")
    options = parser.parse_args(arguments)
    path, tasks = _files.target(options.path), list(_tasks())
    print(f"{len(tasks)} measurements, about {MINUTES} minutes on one core", flush=True)
    folder = Path(f"{path}.partial")
    folder.mkdir(exist_ok=True)
    joblib.Parallel(n_jobs=options.workers)(joblib.delayed(_store)(folder, *task) for task in tasks)
    arrays: dict[str, np.ndarray] = {
        "sigmas": SIGMAS[list(PLACES)],
        "point_sigmas": np.array(POINT_SIGMAS),
    }
    networks: dict[str, str] = {}
    for task in tasks:
        part, known = read_measurements(_part(folder, *task))
        arrays |= part
        networks |= known
    _write(path, arrays, networks)
    for part_of in folder.iterdir():
        os.unlink(part_of)
    folder.rmdir()
    print(f"{path}: {path.stat().st_size / 1e3:.0f} kB")


if __name__ == "__main__":
    main()
