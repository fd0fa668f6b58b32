r"""Jacobians along a trajectory of generation: eigenvectors, gains, trace, asymmetry, by level.

A sampler visits states :math:`x_t` at levels :math:`\sigma_t`, and at each of them the denoiser has
a Jacobian :math:`J = \partial_y D_\sigma(x_t)`. For the best denoiser :math:`\sigma^2J` is the
posterior covariance, so that its leading eigenvectors are *posterior principal components*
[Manor and Michaeli 2024]: what is still undecided at that state.
"""

from collections.abc import Iterable
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from torch import Tensor
from tqdm import tqdm

from lindiff import _check
from lindiff.deep import _graph
from lindiff.deep.jacobian import Jacobian
from lindiff.samplers import heun, sample
from lindiff.types import Denoiser, Rng, StepRule


class Trajectory(NamedTuple):
    r"""One trajectory and its Jacobians at T levels; NumPy arrays.

    Attributes
    ----------
    sigmas : ndarray, shape (T,)
        Levels at which the Jacobian was measured, descending.
    states, denoised : ndarray, shape (T, \*shape)
        The state of the sampler there, and what the denoiser makes of it.
    eigenvalues : ndarray, shape (T, k)
        Leading eigenvalues of the symmetric part of J, descending.
    eigenvectors : ndarray, shape (T, k, d)
        Orthonormal rows.
    residuals : ndarray, shape (T, k)
        Certificates of the pairs, as in :class:`lindiff.power.Eigenpairs`.
    gains : ndarray, shape (T, r)
        Rayleigh quotients of J along the rows of the basis that :func:`follow` was given.
    trace, trace_error : ndarray, shape (T,)
        Estimate of the trace of J and its standard error.
    asymmetry : ndarray, shape (T,)
        Estimate of :math:`\|J-J^\top\|_F/\|J\|_F`.
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
) -> Trajectory:
    r"""Run a sampler from one noisy image and measure the Jacobian on the way.

    Works for any denoiser that torch can differentiate, and leaves it as it was; a progress bar
    appears on a terminal only. A level costs some
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
        Places in `sigmas` at which to measure; by default at all levels above 0.
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

    Returns
    -------
    Trajectory

    Raises
    ------
    ValueError
        If an argument does not fit, or the denoiser has no Jacobian (the message says why).

    Examples
    --------
    >>> import torch
    >>> path = follow(lambda y, s: y / (1 + s**2), torch.ones(3), [2.0, 1.0, 0.0], 3)
    >>> path.eigenvalues.round(4)  # the Wiener gain of white data at both levels
    array([[0.2, 0.2, 0.2],
           [0.5, 0.5, 0.5]])
    >>> path.trace.round(4)
    array([0.6, 1.5])
    """
    y, sigmas = _graph.image(y), _check.sigmas(sigmas)
    k = _check.integer("k", k, 1, y.numel())
    n_probes = _check.integer("n_probes", n_probes, 2)
    basis = _check.array("basis", np.empty((0, y.numel())) if basis is None else basis, 2)
    _check.same_shape("one row of basis", basis.shape[1:], (y.numel(),))
    _check.orthonormal("basis", basis)
    noise, fresh = _check.generator(rng).spawn(2)
    wanted, measured = _places(at, sigmas), []
    plain: Any = partial(_graph.detached, denoiser)  # and an attribute
    if hasattr(denoiser, "colour"):  # a linear denoiser, which some step rules need
        plain.colour = denoiser.colour
    states = sample(plain, y[None], sigmas, step=step, rng=noise)
    bar = tqdm(states, "levels", len(sigmas), disable=None, leave=False)  # on a terminal only
    for place, state in enumerate(bar):
        if place in wanted:
            jacobian = Jacobian(denoiser, state.x[0], state.sigma)
            images = state.x[0].cpu().numpy(), jacobian.denoised.cpu().numpy()
            measured.append(
                (state.sigma, *images, *_measure(jacobian, k, basis, n_probes, tol, fresh))
            )
    last = state.x[0].cpu().numpy()
    return Trajectory._make([*map(np.array, zip(*measured, strict=True)), last])


def _places(at: Iterable[int] | None, sigmas: np.ndarray) -> set[int]:
    """Check the places of the levels to measure."""
    last = len(sigmas) - (2 if sigmas[-1] == 0 else 1)  # at level 0 nothing is left to denoise
    places = range(last + 1) if at is None else at
    wanted = {_check.integer("place in at", place, 0, last) for place in places}
    _check.integer("number of places in at", len(wanted), 1)
    return wanted


def _measure(
    jacobian: Jacobian,
    k: int,
    basis: np.ndarray,
    n_probes: int,
    tol: float,
    rng: np.random.Generator,
) -> tuple[Any, ...]:
    """Eigenpairs, gains, trace with its error, and asymmetry of one Jacobian."""
    pairs = jacobian.eigh(k, tol=tol, rng=rng)
    gains = (jacobian.vj(basis) * basis).sum(axis=1) if len(basis) else np.empty(0)
    # The leading directions have most of the trace; only the rest of it is left to chance.
    probes = rng.choice([-1.0, 1.0], size=(n_probes, jacobian.dim))
    probes -= (probes @ pairs.eigenvectors.T) @ pairs.eigenvectors
    terms = (probes * jacobian.vj(probes)).sum(axis=1)
    trace, error = pairs.eigenvalues.sum() + terms.mean(), terms.std(ddof=1) / np.sqrt(n_probes)
    asymmetry = jacobian.asymmetry(n_probes, rng=rng).value
    return pairs.eigenvalues, pairs.eigenvectors, pairs.residuals, gains, trace, error, asymmetry
