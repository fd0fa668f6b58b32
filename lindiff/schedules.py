r"""Noise schedules: plain arrays of standard deviations, from noise to data.

A schedule is :math:`\sigma_T > \dots > \sigma_1 > \sigma_0 \ge 0`, an array of shape ``(T + 1,)``.
The book works with the variance-exploding process :math:`x_t = x + \sigma_t\varepsilon`; the
variance-preserving one is the same process divided by :math:`\sqrt{1+\sigma_t^2}`.
"""

from typing import Any

import numpy as np
import numpy.typing as npt

from lindiff import _check


def karras(n_steps: int, sigma_min: float, sigma_max: float, rho: float = 7.0) -> np.ndarray:
    r"""Levels equally spaced in :math:`\sigma^{1/\rho}`, then zero [Karras et al. 2022, eq. 5].

    Parameters
    ----------
    n_steps : int
        Number T of steps, at least 1.
    sigma_min, sigma_max : float
        Smallest positive and largest level (standard deviations), ``0 < sigma_min < sigma_max``.
    rho : float
        Positive exponent; 1 is uniform in sigma, large values approach :func:`geometric`.

    Returns
    -------
    ndarray, shape (n_steps + 1,)
        Decreasing levels; the first is `sigma_max`, the last is 0.

    Examples
    --------
    >>> karras(3, 1.0, 9.0, rho=1.0)
    array([9., 5., 1., 0.])
    """
    rho = _check.number("rho", rho, 0.0, open_low=True)
    grid = np.linspace(1.0, 0.0, _check.integer("n_steps", n_steps, 1))
    ends = np.array(_range(sigma_min, sigma_max))
    with np.errstate(over="ignore", invalid="ignore"):
        low, high = ends ** (1 / rho)
        levels = (low + grid * (high - low)) ** rho
    return _with_ends(levels, ends[1], f"rho {rho}")


def geometric(n_steps: int, sigma_min: float, sigma_max: float) -> np.ndarray:
    """Levels with a constant ratio from `sigma_max` to `sigma_min`, then zero.

    Parameters
    ----------
    n_steps : int
        Number T of steps, at least 1.
    sigma_min, sigma_max : float
        Smallest positive and largest level (standard deviations), ``0 < sigma_min < sigma_max``.

    Returns
    -------
    ndarray, shape (n_steps + 1,)
        Decreasing levels; the first is `sigma_max`, the last is 0.

    Examples
    --------
    >>> geometric(3, 1.0, 100.0)
    array([100.,  10.,   1.,   0.])
    """
    low, high = _range(sigma_min, sigma_max)
    n_steps = _check.integer("n_steps", n_steps, 1)
    return _with_ends(np.geomspace(high, low, n_steps), high, f"n_steps {n_steps}")


def from_betas(betas: npt.ArrayLike) -> np.ndarray:
    r"""Levels of a variance-preserving chain with per-step variances `betas`.

    :math:`\sigma_t^2 = (1-\bar\alpha_t)/\bar\alpha_t` with
    :math:`\bar\alpha_t = \prod_{s\le t}(1-\beta_s)` [Ho et al. 2020].

    Parameters
    ----------
    betas : array_like, shape (T,)
        In the order of the forward process, each between 0 and 1 (both excluded).

    Returns
    -------
    ndarray, shape (T + 1,)
        Decreasing standard deviations, from noise to data; the last is 0.

    Examples
    --------
    >>> from_betas([0.5, 0.5]).round(4)
    array([1.7321, 1.    , 0.    ])
    """
    betas = _check.array("betas", betas, 1)
    outside = betas[(betas <= 0) | (betas >= 1)]
    if betas.size == 0 or outside.size:
        found = f"contains {outside[0]}" if outside.size else "is empty"
        raise ValueError(f"betas {found}; expected numbers strictly between 0 and 1")
    with np.errstate(over="ignore"):
        levels = np.sqrt(np.expm1(-np.cumsum(np.log1p(-betas))))[::-1]
    return _with_ends(levels, levels[0], "betas")


def to_vp(x: Any, sigma: float) -> Any:
    r"""Variance-preserving coordinates :math:`x/\sqrt{1+\sigma^2}` of a state `x` at level `sigma`.

    Examples
    --------
    >>> to_vp(5.0, 0.75)
    4.0
    """
    return x / (1 + _check.number("sigma", sigma, 0.0) ** 2) ** 0.5


def from_vp(x: Any, sigma: float) -> Any:
    """Inverse of :func:`to_vp`, with the same errors.

    Examples
    --------
    >>> from_vp(4.0, 0.75)
    5.0
    """
    return x * (1 + _check.number("sigma", sigma, 0.0) ** 2) ** 0.5


def _range(sigma_min: float, sigma_max: float) -> tuple[float, float]:
    low = _check.number("sigma_min", sigma_min, 0.0, open_low=True)
    high = _check.number("sigma_max", sigma_max, 0.0)
    if low >= high:
        raise ValueError(f"sigma_min is {low} and sigma_max {high}; expected sigma_min < sigma_max")
    return low, high


def _with_ends(levels: np.ndarray, sigma_max: float, cause: str) -> np.ndarray:
    """Undo the rounding of the first level and append the data level."""
    levels = np.append(levels, 0.0)
    levels[0] = sigma_max
    if not np.isfinite(levels).all() or (np.diff(levels) >= 0).any():
        raise ValueError(f"{cause} gives levels that double precision cannot tell apart or hold")
    return levels
