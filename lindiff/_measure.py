"""Measure the affine map of a sampler, and compare it with one that is known in closed form."""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from array_api_compat import array_namespace, device
from scipy.special import chdtr, chdtrc, ndtr, stdtr

from lindiff import _check
from lindiff._mistakes import AffineModes
from lindiff.types import Rng


class Measured(NamedTuple):
    """A sampler's map in the eigenbasis; the starts are in units of ``sigmas[0]``.

    Attributes
    ----------
    matrix : ndarray, shape (r, r)
        Response of output mode i (row) to start mode j (column).
    offset : ndarray, shape (r,)
        Output for a start at the mean, less the mean.
    residual : ndarray, shape (r, r)
        Sum of products of what start and offset do not explain.
    spread : ndarray, shape (r + 1,)
        Variance of each estimate per unit of noise variance; the last is that of the offset.
    freedom : int
        Degrees of freedom of `residual`; 0 where the sampler is deterministic.
    rounding : float
        Relative differences up to this one count as rounding.
    floor : float
        Size of the rounding errors of the largest output.
    remarks : tuple of str
        What the outputs show whatever the rule: clipping, shared noise, no affine map.
    """

    matrix: np.ndarray
    offset: np.ndarray
    residual: np.ndarray
    spread: np.ndarray
    freedom: int
    rounding: float
    floor: float
    remarks: tuple[str, ...]


def measure(
    sample: Callable,
    model: Any,
    sigmas: np.ndarray,
    like: Any,
    draws: int,
    rtol: float | None,
    rng: Rng,
) -> Measured:
    """Measure a sampler; arguments as for :func:`lindiff.testing.sampler_report`."""
    modes = model.law.rank
    draws = _check.integer("draws", draws, 2 * modes + 10)
    epsilon = float(array_namespace(like).finfo(like.dtype).eps)
    rounding = epsilon**0.5 if rtol is None else _check.number("rtol", rtol, 0.0, open_low=True)
    results = partial(_results, sample, model, sigmas, like)

    def run(starts: np.ndarray) -> np.ndarray:
        flat = results(starts) / model.form.scale(sigmas[-1]) - model.law.mean
        return flat @ model.law.basis.T

    source = _check.generator(rng)
    if source is not rng:  # not the stream of a sampler that was given the same seed
        source = source.spawn(1)[0]
    same = np.array([run(np.ones((2, modes))), run(np.ones((2, modes)))])  # two calls of two rows
    size = np.abs(same).max()
    within, apart = np.abs(same[:, 0] - same[:, 1]).max(), np.abs(same - same[0, 0]).max()
    # a batch may round each row in its own way
    if apart <= max(100 * epsilon, rounding / 100) * size:
        found = probe(run, modes, rounding)
    else:
        found = regress(run, modes, draws, source)
        if within <= max(1e-3 * apart, 100 * epsilon * size) and within < apart / 10:
            found = found._replace(remarks=("the noise is the same for every sample of a batch",))
    largest = np.abs(model.law.mean).max() + np.abs(found.matrix).max()
    found = found._replace(floor=100 * epsilon * largest)
    return found._replace(
        remarks=_remarks(results(source.standard_normal((50, modes)))) or found.remarks
    )


def _remarks(out: np.ndarray) -> tuple[str, ...]:
    """What results (n, d) for random starts show, whatever the rule."""
    if (out == out[0]).all():
        return ("its result does not depend on its start",)
    size = np.abs(out)
    if (size == size.max()).any(axis=0).sum() > 1:  # two coordinates of one size, to the last bit
        return (f"results are clipped at {size.max():.4g}",)
    return ()


def _results(
    sample: Callable, model: Any, sigmas: np.ndarray, like: Any, starts: np.ndarray
) -> np.ndarray:
    """Results (n, d) of a sampler for starts in the eigenbasis, in units of the first level."""
    law, xp = model.law, array_namespace(like)
    rows = model.form.scale(sigmas[0]) * (law.mean + sigmas[0] * starts @ law.basis)
    shape = (len(rows), *like.shape[1:])
    start = xp.reshape(xp.asarray(rows, dtype=like.dtype, device=device(like)), shape)
    out = sample(start, model)
    out = out.detach().cpu() if hasattr(out, "detach") else out
    out = _check.real("result of the sampler", out)
    _check.same_shape("result of the sampler", out.shape, shape)
    if not np.isfinite(out).all():
        raise ValueError("result of the sampler has nan or inf; expected finite values")
    return out.reshape(rows.shape)


def probe(run: Callable, modes: int, rounding: float) -> Measured:
    """Measure a deterministic sampler: at the mean, at unit vectors, and at sums of these.

    Parameters
    ----------
    run : callable
        From starts (n, r), in the eigenbasis and about the mean, to outputs of the same form.
    modes : int
        Number r.
    rounding : float
        As in :class:`Measured`.

    Returns
    -------
    Measured
    """
    sums = np.array([np.ones(modes), (-1.0) ** np.arange(modes), -np.ones(modes)])
    starts = np.vstack([np.zeros(modes), np.eye(modes), 2 * sums])
    out = run(starts)
    offset = out[0]
    matrix = (out[1 : modes + 1] - offset).T
    away = out - (offset + starts @ matrix.T)
    remarks: tuple[str, ...] = ()
    if np.abs(away).max() > 10 * rounding * np.abs(out).max():
        remarks = ("it is not affine in its start, for instance because it clips its estimates",)
    nothing = np.zeros((modes, modes))
    return Measured(matrix, offset, nothing, np.zeros(modes + 1), 0, rounding, 0.0, remarks)


def regress(run: Callable, modes: int, n: int, rng: np.random.Generator) -> Measured:
    """Measure a stochastic sampler by least squares on `n` starts; arguments as for :func:`probe`.

    Returns
    -------
    Measured
    """
    starts = rng.standard_normal((n, modes))
    out = run(starts)
    design = np.column_stack([starts, np.ones(n)])
    inverse = np.linalg.inv(design.T @ design)
    estimate = inverse @ (design.T @ out)
    left = out - design @ estimate
    matrix, offset, spread = estimate[:-1].T, estimate[-1], np.diag(inverse)
    return Measured(matrix, offset, left.T @ left, spread, n - modes - 1, 0.0, 0.0, ())


def compare(found: Measured, known: AffineModes) -> float:
    """Compare a measured map with a known one.

    The tests are exact for Gaussian noise: normal for matrix and offset, chi-squared for
    the variances, Student's for the correlations. Under the known law they are nearly independent;
    the probability that one of m shows as little as p is :math:`1-(1-p)^m`.

    Parameters
    ----------
    found : Measured
    known : AffineModes
        Its gain is the response to starts in the units of `found`.

    Returns
    -------
    float
        Probability of a test as extreme, in any of the tests; 0 or 1 without noise.
    """
    modes = len(known.gain)
    apart = np.column_stack([found.matrix - np.diag(known.gain), found.offset - known.offset])
    std = np.sqrt(known.gain**2 + known.noise)
    if not found.freedom:
        allowed = found.rounding * std + found.floor
        return float(np.all(np.abs(apart) <= allowed[:, None]) and not known.noise.any())
    if not np.all((known.noise > 0) & np.isfinite(known.noise)):
        return 0.0
    scores = apart / np.sqrt(known.noise[:, None] * found.spread)
    ratio = np.diag(found.residual) / known.noise
    norms = np.sqrt(np.diag(found.residual))
    above = np.triu_indices(modes, 1)
    with np.errstate(all="ignore"):  # no noise at all in some mode
        cosine = (found.residual / np.outer(norms, norms))[above]
        t = cosine * np.sqrt((found.freedom - 1) / (1 - cosine**2))
    tails = [
        2 * ndtr(-np.abs(scores)).ravel(),
        2 * np.minimum(chdtr(found.freedom, ratio), chdtrc(found.freedom, ratio)),
        2 * stdtr(found.freedom - 1, -np.abs(np.nan_to_num(t, nan=np.inf))),
    ]
    every = np.concatenate(tails)
    return float(-np.expm1(every.size * np.log1p(-min(every.min(), 1.0))))
