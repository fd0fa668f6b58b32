r"""Jacobians along a trajectory of generation, or at given images: eigenvectors, trace, asymmetry.

A sampler visits states :math:`x_t` at levels :math:`\sigma_t`, and at each of them the denoiser has
a Jacobian :math:`J = \partial_y D_\sigma(x_t)`. For the best denoiser :math:`\sigma^2J` is the
posterior covariance, so that its leading eigenvectors are *posterior principal components*
[Manor and Michaeli 2024]: what is still undecided at that state.
"""

import functools
from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import scipy.optimize
import torch
from torch import Tensor
from tqdm import tqdm

from lindiff import _check
from lindiff.deep import _graph
from lindiff.deep._log import Log, digest
from lindiff.deep.jacobian import Jacobian
from lindiff.deep.records import Callback, Measurements, Trajectory
from lindiff.samplers import heun, sample
from lindiff.types import Denoiser, Rng, StepRule


def follow(
    denoiser: Denoiser,
    y: Tensor,
    sigmas: npt.ArrayLike,
    k: int,
    *,
    at: Iterable[int] | None = None,
    step: StepRule = heun,
    basis: npt.ArrayLike | None = None,
    n_probes: int = 32,
    tol: float = 1e-3,
    rng: Rng = None,
    chunk: int = 16,
    check: bool = True,
    progress: bool | None = None,
    callback: Callback | None = None,
    save: str | Path | None = None,
) -> Trajectory:
    r"""Run a sampler from one noisy image and measure the Jacobian on the way.

    Works for any denoiser that torch can differentiate, and leaves it as it was. A level costs some
    hundred products with J or its transpose, each about a call of the denoiser. Nothing is trained
    and no matrix is formed.

    Parameters
    ----------
    denoiser : callable
        ``denoiser(y, sigma)`` on batches of tensors, in evaluation mode.
    y : torch.Tensor, shape (\*shape)
        One image, such as (c, h, w), or one vector (d,), at level ``sigmas[0]``: for instance
        ``sigmas[0]`` times white noise.
    sigmas : array_like, shape (S,)
        Decreasing levels of the sampler; the last may be 0.
    k : int
        Number of eigenpairs.
    at : sequence of int, optional
        Indices into `sigmas` of the levels to measure; by default all levels above 0.
    step : callable
        Step rule of :mod:`lindiff.samplers`, by default :func:`~lindiff.samplers.heun`.
    basis : array_like, shape (r, d), optional
        Orthonormal rows, such as principal components of the data, for ``gains``.
    n_probes : int
        Random vectors for trace and asymmetry, at least 2.
    tol : float
        Accuracy of the eigenpairs, as in :meth:`lindiff.deep.jacobian.Jacobian.eigh`.
    rng : numpy.random.Generator, int or None
        The noise of a stochastic step does not depend on `k`, `at`
        or `n_probes`.
    chunk, check
        As for :class:`~lindiff.deep.jacobian.Jacobian`: fewer vectors at a time need less memory,
        and ``check=False`` leaves out the comparison with central differences.
    progress : bool, optional
        Whether to show a progress bar; by default on a terminal only.
    callback : callable, optional
        ``callback(measurements)`` after each level, with the
        :class:`~lindiff.deep.records.Measurements` so far; the newest is the last row. An error
        that it raises ends the call.
    save : str or Path, optional
        An ``.npz`` file for the result, to be read by
        :func:`~lindiff.deep.records.read_trajectory`. Until that is written, ``<save>.partial``
        keeps the levels done, and the same call goes on after them: it runs the sampler again, but
        measures nothing twice. After it, the same call starts again. Of a denoiser only the result
        at the last level done is compared; of a `step` only the name.

    Returns
    -------
    Trajectory

    Raises
    ------
    ValueError
        If an argument does not fit, the denoiser has no Jacobian (the message says why), or
        ``<save>.partial`` is damaged or was left by a call with other arguments. That file is left
        alone.

    Examples
    --------
    >>> path = follow(lambda y, s: y / (1 + s**2), torch.ones(3), [2.0, 1.0, 0.0], 3)
    >>> path.eigenvalues.round(4)  # the Wiener gain of white data at both levels
    array([[0.2, 0.2, 0.2],
           [0.5, 0.5, 0.5]])
    >>> path.trace.round(4)
    array([0.6, 1.5])
    """
    y, sigmas = _graph.image(y), _check.sigmas(sigmas)
    plan = _Plan.checked(denoiser, y, k, basis, n_probes, tol, chunk, check)
    noise, fresh = _check.generator(rng).spawn(2)
    wanted = _places(at, sigmas)
    settings = {"call": "follow", "y": digest(y.cpu().numpy()), "sigmas": sigmas.tolist()}
    settings |= {"at": sorted(wanted), "step": _name(step), **plan.settings()}
    log = Log(save, settings, [noise, fresh], rng is not None, callback)
    plain: Any = partial(_graph.detached, denoiser)  # and an attribute
    if hasattr(denoiser, "colour"):  # a linear denoiser, which some step rules need
        plain.colour = denoiser.colour
    states = sample(plain, y[None], sigmas, step=step, rng=noise)
    for index, state in enumerate(_bar(states, "levels", len(sigmas), progress)):
        if index in wanted:
            plan.measure(state.x[0], state.sigma, log, fresh)
    result = Trajectory(*log.measurements(), state.x[0].cpu().numpy())
    log.close(result)
    return result


def measure(
    denoiser: Denoiser,
    images: Tensor,
    sigmas: npt.ArrayLike,
    k: int,
    *,
    basis: npt.ArrayLike | None = None,
    n_probes: int = 32,
    tol: float = 1e-3,
    rng: Rng = None,
    chunk: int = 16,
    check: bool = True,
    progress: bool | None = None,
    callback: Callback | None = None,
    save: str | Path | None = None,
) -> Measurements:
    r"""Measure the Jacobian at given noisy images: what :func:`follow` does, without a sampler.

    Parameters
    ----------
    denoiser : callable
        As for :func:`follow`.
    images : torch.Tensor, shape (n, \*shape)
        A batch of images that are noisy already, such as (n, c, h, w), or of vectors, (n, d). They
        are measured one after the other.
    sigmas : float or array_like, shape (n,)
        Noise level of all images, or of each, in any order. To measure one image at several levels,
        make a batch of it with noise of each level.
    k, basis, n_probes, tol, rng, chunk, check, progress
        As for :func:`follow`.
    callback, save
        As for :func:`follow`, with images in place of levels.

    Returns
    -------
    Measurements

    Raises
    ------
    ValueError
        As for :func:`follow`.

    Examples
    --------
    >>> noisy = torch.randn(2, 3, 4, 4)  # two images in colour
    >>> found = measure(lambda y, sigma: y / (1 + sigma**2), noisy, [2.0, 1.0], 1)
    >>> found.eigenvalues.round(4)
    array([[0.2],
           [0.5]])
    >>> found.eigenvectors.shape
    (2, 1, 48)
    """
    if not isinstance(images, Tensor) or images.ndim < 2 or len(images) == 0:
        raise ValueError(
            f"images is {_check.brief(images)}; expected a batch of n >= 1 noisy images, a tensor "
            "such as (n, c, h, w): for one image pass images[None]"
        )
    batch = [_graph.image(image) for image in images]
    levels = _check.array("sigmas", sigmas, min(np.ndim(sigmas), 1))
    if levels.ndim:
        _check.same_shape("sigmas", levels.shape, (len(batch),))
    levels = np.broadcast_to(levels, len(batch))
    _check.number("smallest of sigmas", levels.min(), 0.0, open_low=True)
    plan = _Plan.checked(denoiser, batch[0], k, basis, n_probes, tol, chunk, check)
    (fresh,) = _check.generator(rng).spawn(1)
    settings = {"call": "measure", "images": digest(torch.stack(batch).cpu().numpy())}
    settings |= {"sigmas": levels.tolist(), **plan.settings()}
    log = Log(save, settings, [fresh], rng is not None, callback)
    pairs = zip(batch, levels.tolist(), strict=True)
    for image, sigma in _bar(pairs, "images", len(batch), progress):
        plan.measure(image, sigma, log, fresh)
    log.close(log.measurements())
    return log.measurements()


class Aligned(NamedTuple):
    """Directions matched from level to level; :func:`align` makes it.

    Attributes
    ----------
    eigenvectors : ndarray, shape (T, k, d)
        The given rows in new order and with new signs.
    order : ndarray of int, shape (T, k)
        Where each came from; ``np.take_along_axis(eigenvalues, order, axis=1)`` orders the
        eigenvalues in the same way.
    overlap : ndarray, shape (T, k)
        Squared cosine of each with its predecessor, 1 at the first level. Where it is small the
        direction has not been followed, but replaced.
    """

    eigenvectors: np.ndarray
    order: np.ndarray
    overlap: np.ndarray


def align(eigenvectors: npt.ArrayLike) -> Aligned:
    r"""Order and signs of eigenvectors matched from each level to the next, through crossings.

    Eigenpairs come by descending eigenvalue, so that two directions whose eigenvalues cross change
    places. Here each level is ordered such that the sum of squared cosines with the level before is
    largest (a linear assignment), and the signs are such that those cosines are not negative. The
    first level keeps its order and its signs.

    Parameters
    ----------
    eigenvectors : array_like, shape (T, k, d)
        Orthonormal rows at each level, as in :class:`~lindiff.deep.records.Trajectory`.

    Returns
    -------
    Aligned

    Examples
    --------
    Two directions whose eigenvalues cross between the levels:

    >>> eigenvectors = np.array([[[1.0, 0.0], [0.0, 1.0]], [[0.0, -1.0], [1.0, 0.0]]])
    >>> eigenvalues = np.array([[0.9, 0.8], [0.7, 0.5]])
    >>> aligned = align(eigenvectors)
    >>> aligned.eigenvectors[1]
    array([[1., 0.],
           [0., 1.]])
    >>> np.take_along_axis(eigenvalues, aligned.order, axis=1)
    array([[0.9, 0.8],
           [0.5, 0.7]])
    """
    rows = _check.orthonormal("eigenvectors", _check.array("eigenvectors", eigenvectors, 3))
    _check.integer("number of levels in eigenvectors", len(rows), 1)
    aligned = rows.copy()
    order = np.tile(np.arange(rows.shape[1]), (len(rows), 1))
    overlap = np.ones(rows.shape[:2])
    for t in range(1, len(rows)):
        cosines = aligned[t - 1] @ rows[t].T
        before, order[t] = scipy.optimize.linear_sum_assignment(cosines**2, maximize=True)
        matched = cosines[before, order[t]]
        aligned[t] = np.where(matched < 0, -1.0, 1.0)[:, None] * rows[t, order[t]]
        overlap[t] = matched**2
    return Aligned(aligned + 0.0, order, overlap)


def _bar(items: Iterable[Any], label: str, total: int, progress: bool | None) -> Iterable[Any]:
    hidden = None if progress is None else not progress  # None: shown on a terminal only
    return tqdm(items, label, total, disable=hidden, leave=False)


def _name(step: Any) -> str:
    """What tells one step rule from another."""
    if isinstance(step, functools.partial):
        return f"{_name(step.func)}, {step.args}, {step.keywords}"
    return str(getattr(step, "__qualname__", type(step).__name__))


def _places(at: Iterable[int] | None, sigmas: np.ndarray) -> set[int]:
    """Check the indices of the levels to measure."""
    last = len(sigmas) - (2 if sigmas[-1] == 0 else 1)  # at level 0 nothing is left to denoise
    places = range(last + 1) if at is None else at
    wanted = {_check.integer("place in at", place, 0, last) for place in places}
    _check.integer("number of places in at", len(wanted), 1)
    return wanted


@dataclass
class _Plan:
    """What to measure of each Jacobian."""

    denoiser: Denoiser
    k: int
    basis: np.ndarray
    n_probes: int
    tol: float
    chunk: int
    check: bool

    @classmethod
    def checked(
        cls,
        denoiser: Denoiser,
        y: Tensor,
        k: int,
        basis: npt.ArrayLike | None,
        n_probes: int,
        tol: float,
        chunk: int,
        check: bool,
    ) -> "_Plan":
        """Check what does not fit an image `y`, before the work."""
        k = _check.integer("k", k, 1, y.numel())
        n_probes = _check.integer("n_probes", n_probes, 2)
        rows = _check.array("basis", np.empty((0, y.numel())) if basis is None else basis, 2)
        _check.same_shape("one row of basis", rows.shape[1:], (y.numel(),))
        tol = _check.number("tol", tol, 0.0)
        chunk = _check.integer("chunk", chunk, 1)
        return cls(denoiser, k, _check.orthonormal("basis", rows), n_probes, tol, chunk, check)

    def settings(self) -> dict[str, Any]:
        """What tells this plan from others, as JSON values."""
        known = {"k": self.k, "n_probes": self.n_probes, "tol": self.tol}
        return {**known, "basis": digest(self.basis)}

    def measure(self, y: Tensor, sigma: float, log: Log, rng: np.random.Generator) -> None:
        """Measure at one state and log it, unless an interrupted call has done so."""
        if log.ahead == 0:
            jacobian = Jacobian(self.denoiser, y, sigma, chunk=self.chunk, check=self.check)
            images = y.cpu().numpy(), jacobian.denoised.cpu().numpy()
            log.add(Measurements(np.float64(sigma), *images, *self._values(jacobian, rng)))
            return
        log.ahead -= 1
        if log.ahead == 0:
            denoised = _graph.detached(self.denoiser, y[None], sigma)[0]
            log.check(y.cpu().numpy(), denoised.cpu().numpy())

    def _values(self, jacobian: Jacobian, rng: np.random.Generator) -> tuple[Any, ...]:
        """Eigenpairs, gains, trace with its error, and asymmetry of one Jacobian."""
        pairs = jacobian.eigh(self.k, tol=self.tol, rng=rng)
        basis, n_probes = self.basis, self.n_probes
        gains = (jacobian.vj(basis) * basis).sum(axis=1) if len(basis) else np.empty(0)
        # The leading directions have most of the trace; only the rest of it is left to chance.
        probes = rng.choice([-1.0, 1.0], size=(n_probes, jacobian.dim))
        probes -= (probes @ pairs.eigenvectors.T) @ pairs.eigenvectors
        terms = (probes * jacobian.vj(probes)).sum(axis=1)
        trace, error = pairs.eigenvalues.sum() + terms.mean(), terms.std(ddof=1) / np.sqrt(n_probes)
        asymmetry = jacobian.asymmetry(n_probes, rng=rng).value
        return *pairs[:3], gains, trace, error, asymmetry
