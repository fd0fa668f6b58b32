r"""Exact laws of the samplers, for linear denoisers.

If the denoiser is linear, so is the mean of every step rule, and running the *same* rule on one
vector of mode gains gives the law of the sampler: no sampling, no second implementation.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from lindiff import _check
from lindiff.denoisers import LinearDenoiser
from lindiff.gaussian import _spectral_product
from lindiff.samplers import _begin, _denoise, _require_rule, _scaled, ddim
from lindiff.types import Denoiser, HasGains, Noise, Rng, StepRule


class Law(NamedTuple):
    """Exact law of a linear sampler, mode by mode, at each level of the schedule.

    Attributes
    ----------
    gain : ndarray, shape (T + 1, r)
        Response of the state to the initial state, both taken about the model's mean.
    variance : ndarray, shape (T + 1, r)
        Variance of the state along each eigenvector.
    """

    gain: np.ndarray
    variance: np.ndarray


class Contributions(NamedTuple):
    """Where the variance of the generated law comes from, mode by mode.

    Attributes
    ----------
    initial : ndarray, shape (r,)
        Variance that the initial state left.
    injected : ndarray, shape (T, r)
        Variance that the noise injected by each step left.
    """

    initial: np.ndarray
    injected: np.ndarray


class AffineMap(NamedTuple):
    """A random affine map of rows: ``x @ matrix.T + offset`` plus noise of the given covariance."""

    matrix: np.ndarray
    offset: np.ndarray
    covariance: np.ndarray


def law(
    denoiser: HasGains,
    sigmas: npt.ArrayLike,
    *,
    step: StepRule = ddim,
    start: npt.ArrayLike | None = None,
) -> Law:
    r"""Exact law of the sampler that :func:`~lindiff.samplers.sample` runs, without sampling.

    All maps share the eigenbasis of the model, so each mode evolves alone; the step rule is
    applied to the vector of gains. Cost O(Tr).

    Parameters
    ----------
    denoiser : LinearDenoiser
        Its gains at each level are used; any object with ``gains(sigma)`` will do.
    sigmas : array_like, shape (T + 1,)
        Decreasing standard deviations.
    step : callable, default :func:`~lindiff.samplers.ddim`
        Step rule.
    start : array_like, shape (r,) or scalar, optional
        Variance of the initial state along each mode, by default ``sigmas[0]**2``. A sampler
        that starts from the true noisy law has ``eigenvalues + sigmas[0]**2``.

    Returns
    -------
    Law
        Gains and variances, shape (T + 1, r) each. Outside the span of the model the
        sampler behaves as for an eigenvalue of zero: give the model such modes to see them.

    Examples
    --------
    >>> from lindiff import Gaussian, LinearDenoiser
    >>> denoiser = LinearDenoiser(Gaussian(np.zeros(1), [3.0], np.eye(1)))
    >>> law(denoiser, [1.0, 0.5, 0.0]).gain.ravel().round(4)
    array([1.    , 0.875 , 0.8077])
    """
    sigmas, start = _law_arguments(denoiser, sigmas, start)
    step = _require_rule(step)
    return _mode_law(denoiser.gains, sigmas, step, start)


def contributions(
    denoiser: HasGains,
    sigmas: npt.ArrayLike,
    *,
    step: StepRule = ddim,
    start: npt.ArrayLike | None = None,
) -> Contributions:
    r"""Split the generated variance into what the initial state and each step's noise left.

    .. math:: v_i = \Big(\prod_{t=1}^{T} g_{i,t}\Big)^2 v_{i,T}
              + \sum_{t=1}^T \Big(\prod_{s<t} g_{i,s}\Big)^2 s_{i,t}^2

    with the gain :math:`g_{i,t}` and the noise :math:`s_{i,t}` of the step from level t to t - 1.

    Parameters
    ----------
    denoiser, sigmas, step, start
        As for :func:`law`, whose last variance is the sum of all contributions.

    Returns
    -------
    Contributions
        ``initial`` (r,) and ``injected`` (T, r), the first row for the first step.

    Examples
    --------
    >>> from lindiff import Gaussian, LinearDenoiser, ancestral
    >>> denoiser = LinearDenoiser(Gaussian(np.zeros(1), [3.0], np.eye(1)))
    >>> parts = contributions(denoiser, [1.0, 0.5, 0.0], step=ancestral, start=[4.0])
    >>> parts.initial, parts.injected.ravel().round(4)
    (array([2.25]), array([0.5192, 0.2308]))
    """
    sigmas, start = _law_arguments(denoiser, sigmas, start)
    step = _require_rule(step)
    if hasattr(step, "begin"):
        whole = _mode_law(denoiser.gains, sigmas, step, start).variance
        return Contributions(whole[-1], np.zeros_like(whole[1:]))
    factors, noises = _mode_steps(denoiser.gains, sigmas, step, start.shape)
    later = np.cumprod(factors[::-1], axis=0)[::-1]  # gain from the start of a step to the end
    after = np.vstack([later[1:], np.ones_like(start)])
    return Contributions(later[0] ** 2 * start, (after * noises) ** 2)


def _law_arguments(
    denoiser: HasGains, sigmas: npt.ArrayLike, start: npt.ArrayLike | None
) -> tuple[np.ndarray, np.ndarray]:
    """Check the arguments of a law; the schedule and the initial variance of each mode."""
    sigmas = _check.sigmas(sigmas)
    if not hasattr(denoiser, "gains"):
        raise ValueError(
            f"denoiser is {_check.brief(denoiser)}, without gains(sigma); expected a LinearDenoiser"
        )
    modes = denoiser.gains(float(sigmas[0])).shape
    if np.ma.is_masked(start):
        raise ValueError("start has masked entries; expected an array without a mask")
    start = sigmas[0] ** 2 if start is None else start
    try:
        if np.iscomplexobj(start):
            raise ValueError("NumPy would drop the imaginary part")
        variance = np.broadcast_to(np.asarray(start, dtype=float), modes)
        shaped = np.shape(start) in ((), modes)
        fits = shaped and np.isfinite(variance).all() and (variance >= 0).all()
    except ValueError:
        fits = False
    if not fits:
        raise ValueError(
            f"start is {_check.brief(start)}; expected variances >= 0, a scalar or shape {modes}"
        )
    return sigmas, variance


def _on_modes(gains: Callable[[float], np.ndarray]) -> Denoiser:
    """Turn gains into a denoiser of the coordinates along the modes."""

    def denoiser(z: np.ndarray, sigma: float) -> np.ndarray:
        return _check.array("gains of the denoiser", gains(sigma), 1) * z

    return denoiser


def _mode_steps(
    gains: Callable[[float], np.ndarray], sigmas: np.ndarray, step: StepRule, modes: tuple[int, ...]
) -> tuple[np.ndarray, np.ndarray]:
    """Factor and noise of every step in every mode: the step rule run on ones."""

    denoiser = _on_modes(gains)
    factors, noises, one = [], [], np.ones(modes)
    for sigma, sigma_next in zip(sigmas[:-1].tolist(), sigmas[1:].tolist(), strict=True):
        factor, noise = step(one, denoiser(one, sigma), sigma, sigma_next, denoiser)
        factors.append(factor)
        noises.append(noise(gains(sigma)) if callable(noise) else np.full(modes, noise))
    return np.array(factors), np.array(noises)


def _response(
    gains: Callable[[float], np.ndarray], sigmas: np.ndarray, step: StepRule, modes: tuple[int, ...]
) -> np.ndarray:
    """Response to the start at every level: a rule with a memory, run on ones."""
    denoiser, rule, states = _on_modes(gains), _begin(step), [np.ones(modes)]
    for sigma, sigma_next in zip(sigmas[:-1].tolist(), sigmas[1:].tolist(), strict=True):
        x = states[-1]
        x, noise = rule(x, denoiser(x, sigma), sigma, sigma_next, denoiser)
        states.append(_without_noise(x, noise))
    return np.array(states)


def _without_noise(x: np.ndarray, noise: Noise) -> np.ndarray:
    """Return the state `x` of a rule with a memory, which must not add noise."""
    if callable(noise) or noise > 0:
        raise ValueError("step has a memory and adds noise; expected a deterministic rule")
    return x


def _mode_law(
    gains: Callable[[float], np.ndarray], sigmas: np.ndarray, step: StepRule, start: np.ndarray
) -> Law:
    """Gains and variances of the modes at every level."""
    if hasattr(step, "begin"):
        gain = _response(gains, sigmas, step, start.shape)
        return Law(gain, gain**2 * start)
    factors, noises = _mode_steps(gains, sigmas, step, start.shape)
    variance = [np.array(start)]
    for factor, noise in zip(factors, noises, strict=True):
        variance.append(factor**2 * variance[-1] + noise**2)
    gain = np.cumprod(np.vstack([np.ones_like(start), factors]), axis=0)
    return Law(gain, np.array(variance))


def draw(
    denoiser: LinearDenoiser,
    sigmas: npt.ArrayLike,
    n: int,
    *,
    step: StepRule = ddim,
    times: npt.ArrayLike = (-1,),
    rng: Rng = None,
) -> np.ndarray:
    """Draw trajectories from the exact law of a linear sampler, at chosen levels only.

    The samples have jointly the law of the states that :func:`~lindiff.samplers.sample`
    visits when it starts from ``sigmas[0]`` times white noise about the model's mean; the
    levels between cost nothing. The noise is drawn in the coordinates of the data, so that a
    seeded draw does not depend on the signs of the eigenvectors.

    Parameters
    ----------
    denoiser : LinearDenoiser
    sigmas : array_like, shape (T + 1,)
        Decreasing standard deviations.
    n : int
        Number of samples.
    step : callable, default :func:`~lindiff.samplers.ddim`
        Step rule.
    times : sequence of int
        Increasing indices into `sigmas`; negative ones count from the end.
    rng : numpy.random.Generator, int or None

    Returns
    -------
    ndarray, shape (len(times), n, d)

    Examples
    --------
    >>> from lindiff import Gaussian, LinearDenoiser
    >>> denoiser = LinearDenoiser(Gaussian(np.zeros(2), [3.0], np.eye(2)[:1]))
    >>> x = draw(denoiser, [9.0, 1.0, 0.0], 1000, rng=0)
    >>> x.shape, bool(np.all(x[0, :, 1] == 0))
    ((1, 1000, 2), True)
    """
    sigmas = _check.sigmas(sigmas)
    n = _check.integer("n", n, 1)
    rng, step = _check.generator(rng), _require_rule(step)
    model = _check.kind("denoiser", denoiser, LinearDenoiser).model
    stops = _indices(times, len(sigmas))

    def gains(
        sigma: float,
    ) -> np.ndarray:  # the last mode stands for everything outside the span of the model
        return np.append(denoiser.gains(sigma), 0.0)

    x = sigmas[0] * rng.standard_normal((n, model.dim))
    if hasattr(step, "begin"):  # the whole past counts, and there is no noise
        responses = _response(gains, sigmas, step, (model.rank + 1,))[stops]
        images = [_spectral_product(x, model.basis, g[:-1], g[-1]) for g in responses]
        return model.mean + np.array(images)
    out, at = np.empty((len(stops), n, model.dim)), 0
    for k, stop in enumerate(stops):
        if stop > at:
            segment = _mode_law(gains, sigmas[at : stop + 1], step, np.zeros(model.rank + 1))
            gain, noise = segment.gain[-1], np.sqrt(segment.variance[-1])
            x = _spectral_product(x, model.basis, gain[:-1], gain[-1])
            if noise.any():
                white = rng.standard_normal(x.shape)
                x += _spectral_product(white, model.basis, noise[:-1], noise[-1])
        np.add(x, model.mean, out=out[k])
        at = stop
    return out


def _indices(times: npt.ArrayLike, levels: int) -> list[int]:
    """Places in a schedule, counted from its start."""
    stops = _check.array("times", times, 1)
    stops = np.where(stops < 0, stops + levels, stops)
    whole = (stops == stops.round()) & (stops >= 0) & (stops < levels)
    if not (stops.size and whole.all() and (np.diff(stops) > 0).all()):
        raise ValueError(
            f"times is {_check.brief(times)}; expected increasing indices into {levels} levels"
        )
    return stops.astype(int).tolist()


def affine_map(
    denoiser: Denoiser, sigmas: npt.ArrayLike, dim: int, *, step: StepRule = ddim
) -> AffineMap:
    r"""Fold a sampler with an affine denoiser into one affine map with Gaussian noise.

    For denoisers whose basis changes with the level nothing commutes; the rule is then run on
    the rows of the identity. With maps of rank r the cost is O(T r d^2).

    Parameters
    ----------
    denoiser : callable
        Affine ``denoiser(y, sigma)`` on rows. Use a dictionary of denoisers to change the
        basis: ``lambda y, sigma: levels[sigma](y, sigma)``.
    sigmas : array_like, shape (T + 1,)
        Decreasing standard deviations.
    dim : int
        Dimension d.
    step : callable, default :func:`~lindiff.samplers.ddim`
        Step rule.

    Returns
    -------
    AffineMap
        ``matrix`` (d, d), ``offset`` (d,), ``covariance`` (d, d) of the injected noise.

    Raises
    ------
    ValueError
        If `sigmas` is not a schedule or `step` no step rule, or the denoiser returns a wrong
        shape or is not affine.

    Examples
    --------
    >>> from lindiff import Gaussian, LinearDenoiser
    >>> denoiser = LinearDenoiser(Gaussian(np.array([5.0]), [3.0], np.eye(1)))
    >>> total = affine_map(denoiser, [1.0, 0.5, 0.0], 1)
    >>> total.matrix.round(4), total.offset.round(4)
    (array([[0.8077]]), array([0.9615]))
    """
    sigmas = _check.sigmas(sigmas)
    dim, step = _check.integer("dim", dim, 1), _require_rule(step)
    # Matrices are held in the unit of the noise, as states are: rows of size one could vanish
    # beside the mean of data in other units.
    unit = float(sigmas[0])
    matrix, offset, covariance = unit * np.eye(dim), np.zeros(dim), np.zeros((dim, dim))

    def linear(rows: np.ndarray, sigma: float) -> np.ndarray:
        # a copy, for the denoiser may write the next result into the same array
        at_zero = 1 * _denoise(denoiser, np.zeros((1, dim)), sigma)
        return _denoise(denoiser, rows, sigma) - at_zero

    for sigma in sigmas[sigmas > 0].tolist():
        _require_affine(linear, dim, sigma)
    turn, shift = _begin(step), _begin(step)  # two runs: one of the linear part, one of the offset
    for sigma, sigma_next in zip(sigmas[:-1].tolist(), sigmas[1:].tolist(), strict=True):

        def move(
            rows: np.ndarray,
            act: Denoiser = linear,
            levels: tuple[float, float] = (sigma, sigma_next),
        ) -> tuple[np.ndarray, Noise]:
            return turn(rows, act(rows, levels[0]), *levels, act)

        # rows of matrix.T are images of vectors of one unit: a batch of states
        images, noise = move(matrix.T)
        matrix = images.T
        shifted = offset[None]
        guess = _denoise(denoiser, shifted, sigma)
        offset = shift(shifted, guess, sigma, sigma_next, denoiser)[0][0]
        if covariance.any():
            covariance = move(move(covariance)[0].T)[0]
        if hasattr(step, "begin"):
            _without_noise(matrix, noise)
        coloured = _scaled(noise, np.eye(dim), sigma, denoiser)
        covariance = covariance + coloured.T @ coloured / unit
    return AffineMap(matrix / unit, offset, covariance * unit)


def _require_affine(linear: Denoiser, dim: int, sigma: float) -> None:
    """Raise ValueError unless the centred denoiser is additive on two probes."""
    probe = sigma * np.random.default_rng(0).standard_normal((2, dim))
    apart, together = linear(probe, sigma).sum(axis=0), linear(probe.sum(axis=0)[None], sigma)[0]
    gap = np.abs(apart - together).max()
    if gap > 1e-6 * np.abs(linear(probe, sigma)).max():
        raise ValueError(
            f"the denoiser is not affine at sigma {sigma} (gap {gap:.1e}); expected one that is"
        )
