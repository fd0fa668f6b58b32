r"""The best levels of a sampler for a spectrum, by direct minimisation of its exact error."""

import numpy as np
import numpy.typing as npt
from scipy.optimize import least_squares

from lindiff import _check
from lindiff.laws import law
from lindiff.samplers import ddim
from lindiff.types import HasGains, StepRule


def best_levels(
    denoiser: HasGains,
    variances: npt.ArrayLike,
    n_steps: int,
    sigma_max: float,
    *,
    step: StepRule = ddim,
) -> np.ndarray:
    r"""Levels for which a sampler's law is nearest to a Gaussian one, in :math:`W_2`.

    It minimises :math:`\sum_i(\sqrt{v_i}-\sqrt{\lambda_i})^2`, with the exact variances
    :math:`v_i` of the generated modes (:func:`~lindiff.laws.law`) for a start of white noise, over
    the n - 1 levels between `sigma_max` and 0: nonlinear least squares, from the best geometric
    levels on. What it finds is a local minimum; for up to some ten steps other starts led there.

    Parameters
    ----------
    denoiser : LinearDenoiser
        Any object with ``gains(sigma)`` will do.
    variances : array_like, shape (r,)
        The wanted variances :math:`\lambda_i`, such as the eigenvalues of the model.
    n_steps : int
        Number n of steps, at least 2.
    sigma_max : float
        First level.
    step : callable, default :func:`~lindiff.samplers.ddim`
        Step rule.

    Returns
    -------
    ndarray, shape (n_steps + 1,)
        Decreasing levels; the first is `sigma_max`, the last is 0.

    Examples
    --------
    >>> from lindiff import Gaussian, LinearDenoiser
    >>> one_mode = LinearDenoiser(Gaussian(np.zeros(1), [1.0], np.eye(1)))
    >>> levels = best_levels(one_mode, [1.0], 3, 10.0)  # equal angles, one after the other
    >>> np.rad2deg(np.arctan(levels)).round(1)
    array([84.3, 56.2, 28.1,  0. ])
    """
    n_steps = _check.integer("n_steps", n_steps, 2)
    sigma_max = _check.number("sigma_max", sigma_max, 0.0, open_low=True)
    wanted = _check.array("variances", variances, 1)
    if (wanted < 0).any():
        raise ValueError(f"variances contains {wanted.min()}; expected numbers >= 0")
    _check.same_shape("variances", wanted.shape, denoiser.gains(sigma_max).shape)
    target = np.sqrt(wanted)

    def levels(logs: np.ndarray) -> np.ndarray:  # any numbers give a decreasing schedule
        falls = np.cumsum(np.exp(np.clip(logs, -20.0, 3.0)))
        return np.append(sigma_max * np.exp(-np.append(0.0, falls)), 0.0)

    def lacking(logs: np.ndarray) -> np.ndarray:
        deviations = np.sqrt(law(denoiser, levels(logs), step=step).variance[-1])
        return (deviations - target) / np.linalg.norm(target)

    falls = np.log(np.geomspace(2.0, 1e4, 40)) / (n_steps - 1)
    starts = [np.full(n_steps - 1, np.log(fall)) for fall in falls]
    start = min(starts, key=lambda logs: np.linalg.norm(lacking(logs)))
    close = {"ftol": 1e-12, "xtol": 1e-12, "gtol": 1e-12}
    return levels(least_squares(lacking, start, jac="3-point", max_nfev=200, **close).x)
