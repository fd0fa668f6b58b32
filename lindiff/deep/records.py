"""What is measured of Jacobians, as arrays and as a file.

A file is an ``.npz`` archive of the arrays by name; nothing in it can run code.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

import numpy as np

from lindiff import _check, _files


class Measurements(NamedTuple):
    r"""Jacobians of a denoiser at n images; NumPy arrays, one row per image.

    Attributes
    ----------
    sigmas : ndarray, shape (n,)
        Noise level of each image.
    states, denoised : ndarray, shape (n, \*shape)
        The noisy images, and what the denoiser makes of them.
    eigenvalues : ndarray, shape (n, k)
        Leading eigenvalues of the symmetric part of J, descending.
    eigenvectors : ndarray, shape (n, k, d)
        Orthonormal rows.
    residuals : ndarray, shape (n, k)
        Certificates of the pairs, as in :class:`lindiff.power.Eigenpairs`.
    gains : ndarray, shape (n, r)
        Rayleigh quotients of J along the rows of the basis that was given.
    trace, trace_error : ndarray, shape (n,)
        Estimate of the trace of J and its standard error.
    asymmetry : ndarray, shape (n,)
        Estimate of :math:`\|J-J^\top\|_F/\|J\|_F`.
    """

    sigmas: np.ndarray
    states: np.ndarray
    denoised: np.ndarray
    eigenvalues: np.ndarray
    eigenvectors: np.ndarray
    residuals: np.ndarray
    gains: np.ndarray
    trace: np.ndarray
    trace_error: np.ndarray
    asymmetry: np.ndarray


class Trajectory(NamedTuple):
    r"""One trajectory and its Jacobians at T levels, descending; NumPy arrays.

    Attributes
    ----------
    sigmas, states, denoised : ndarray, shape (T, ...)
        Levels at which the Jacobian was measured, the state of the sampler there, and what the
        denoiser makes of it.
    eigenvalues, eigenvectors, residuals, gains, trace, trace_error, asymmetry : ndarray, (T, ...)
        As in :class:`Measurements`, one row per level.
    sample : ndarray, shape (\*shape)
        Where the trajectory ends.
    """

    sigmas: np.ndarray
    states: np.ndarray
    denoised: np.ndarray
    eigenvalues: np.ndarray
    eigenvectors: np.ndarray
    residuals: np.ndarray
    gains: np.ndarray
    trace: np.ndarray
    trace_error: np.ndarray
    asymmetry: np.ndarray
    sample: np.ndarray


# Called with the rows measured so far, the newest last.
Callback: TypeAlias = Callable[[Measurements], object]


def write_trajectory(path: str | Path, trajectory: Trajectory | Measurements) -> None:
    """Write what `follow` or `measure` returned; an existing file is replaced atomically.

    Parameters
    ----------
    path : str or Path
        Of an ``.npz`` file, in an existing folder.
    trajectory : Trajectory or Measurements

    Examples
    --------
    >>> import tempfile, torch
    >>> from lindiff.deep import follow
    >>> path = follow(lambda y, sigma: y / (1 + sigma**2), torch.ones(3), [2.0, 1.0, 0.0], 1)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     write_trajectory(f"{folder}/path.npz", path)
    ...     read_trajectory(f"{folder}/path.npz").eigenvalues.round(4)
    array([[0.2],
           [0.5]])
    """
    if not isinstance(trajectory, Trajectory | Measurements):
        raise ValueError(
            f"trajectory is {_check.brief(trajectory)}; expected a Trajectory or Measurements"
        )
    _write(_files.target(path), trajectory._asdict())


def read_trajectory(path: str | Path) -> Trajectory | Measurements:
    """Return what :func:`write_trajectory`, or `follow` or `measure` with ``save=path``, wrote.

    Parameters
    ----------
    path : str or Path

    Returns
    -------
    Trajectory or Measurements
        Of the class that was written.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If the file is damaged, holds something else, or is the state of an unfinished call.

    Examples
    --------
    >>> import tempfile, torch
    >>> from lindiff.deep import measure
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = f"{folder}/one.npz"
    ...     found = measure(lambda y, sigma: y / 2, torch.ones(1, 3), 1.0, k=1, save=path)
    ...     read_trajectory(path).eigenvalues.round(4)
    array([[0.5]])
    """
    arrays = _files.read_arrays(path, "replace it by a good copy")
    if "settings" in arrays:
        raise ValueError(
            f"{path} is the state of an unfinished call; to end that, repeat the call of "
            "lindiff.deep.follow or lindiff.deep.measure as it was"
        )
    for kind in (Trajectory, Measurements):
        if arrays.keys() == set(kind._fields):
            return kind(**arrays)
    raise ValueError(f"{path} does not hold a trajectory; expected what write_trajectory wrote")


def _write(path: Path, arrays: Mapping[str, Any]) -> None:
    """Write arrays by name; a reader sees the old file or the new one, never a half."""
    with _files.replacing(path) as temporary, temporary.open("wb") as file:
        np.savez(file, **arrays)
