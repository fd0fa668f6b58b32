r"""Denoisers with closed forms: callables ``D(y, sigma)`` on rows ``(n, d)``.

Observation model: :math:`y = x + \sigma\varepsilon` with standard Gaussian noise; the denoiser of
smallest mean squared error is :math:`D_\sigma(y) = \mathbb E[x|y]`. Everything here accepts NumPy
arrays and, unchanged, torch tensors: the answer comes in the caller's array type.

A *gain* is a function ``(eigenvalues, sigma) -> (r,)``. A zero eigenvalue must get gain zero,
for that is what a :class:`LinearDenoiser` does outside the span of its model.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
from array_api_compat import array_namespace, device

from lindiff import _check
from lindiff.gaussian import Gaussian, _spectral_product
from lindiff.types import Denoiser, Gain


def wiener(eigenvalues: npt.ArrayLike, sigma: float) -> np.ndarray:
    r"""Gain of the best linear denoiser, :math:`\lambda_i/(\lambda_i+\sigma^2)`.

    Parameters
    ----------
    eigenvalues : array_like, shape (r,)
        Descending, non-negative.
    sigma : float
        Noise standard deviation, ``>= 0``.

    Returns
    -------
    ndarray, shape (r,)
        Between 0 and 1; zero where the eigenvalue is.

    Examples
    --------
    >>> wiener([3.0, 1.0, 0.0], sigma=1.0)
    array([0.75, 0.5 , 0.  ])
    """
    lam, variance = _gain_arguments(eigenvalues, sigma)
    return np.divide(lam, lam + variance, out=np.zeros_like(lam), where=lam > 0)


def project(eigenvalues: npt.ArrayLike, sigma: float) -> np.ndarray:
    """Gain of the orthogonal projection onto the model's span: 1, whatever `sigma`.

    Parameters, errors and shape as for :func:`wiener`.

    Examples
    --------
    >>> project([3.0, 1.0, 0.0], sigma=1.0)
    array([1., 1., 0.])
    """
    lam, _ = _gain_arguments(eigenvalues, sigma)
    return (lam > 0).astype(float)


def hard_threshold(eigenvalues: npt.ArrayLike, sigma: float) -> np.ndarray:
    r"""Gain of the best projection of free rank: keep mode i iff :math:`\lambda_i>\sigma^2`.

    Parameters, errors and shape as for :func:`wiener`.

    Examples
    --------
    >>> hard_threshold([3.0, 1.0, 0.0], sigma=1.0)
    array([1., 0., 0.])
    """
    lam, variance = _gain_arguments(eigenvalues, sigma)
    return (lam > variance).astype(float)


def gradient_flow(time: float, *, layers: int = 1, start: float = 0.0) -> Gain:
    r"""Gain of a linear network that gradient descent in small steps has trained for a while.

    Gradient flow on half the mean squared error, :math:`\tfrac12\mathbb E|Ay-x|^2`, at one noise
    level. One matrix that starts at :math:`A=w_0I` has at time t the gains

    .. math:: g_i+(w_0-g_i)\,e^{-(\lambda_i+\sigma^2)t},\qquad
              g_i=\frac{\lambda_i}{\lambda_i+\sigma^2};

    two, :math:`A=BC` with :math:`B=C=\sqrt{w_0}\,I` at the start,

    .. math:: \frac{g_iw_0}{w_0+(g_i-w_0)\,e^{-2\lambda_it}}

    [Saxe, McClelland and Ganguli 2014; Wang and Pehlevan 2025]. Where the eigenvalue is zero, so
    is the gain: the start is :math:`w_0` on the span of the model only.

    Parameters
    ----------
    time : float
        Time t of the training, in units of one over a variance: k steps of gradient descent with
        the learning rate h take the time hk.
    layers : int
        1 or 2.
    start : float
        Gain :math:`w_0` before the training, ``>= 0``; positive for two layers, which zero would
        keep at zero.

    Returns
    -------
    callable
        A gain for :class:`LinearDenoiser`.

    Examples
    --------
    >>> gain = gradient_flow(0.5)
    >>> gain(np.array([3.0, 1.0, 0.0]), 1.0).round(3)
    array([0.648, 0.316, 0.   ])
    """
    time = _check.number("time", time, 0.0)
    layers = _check.integer("layers", layers, 1, 2)
    start = _check.number("start", start, 0.0, open_low=layers == 2)
    return partial(_trained, time=time, layers=layers, start=start)


def _trained(
    eigenvalues: npt.ArrayLike, sigma: float, *, time: float, layers: int, start: float
) -> np.ndarray:
    """Gain after gradient flow from `start`."""
    lam, variance = _gain_arguments(eigenvalues, sigma)
    best = np.where(lam > 0, wiener(lam, sigma), 1.0)  # anything but 0, where the gain is not used
    if layers == 1:
        gain = best + (start - best) * np.exp(-(lam + variance) * time)
    else:
        gain = best * start / (start + (best - start) * np.exp(-2 * lam * time))
    return np.where(lam > 0, gain, 0.0)


def _gain_arguments(eigenvalues: npt.ArrayLike, sigma: float) -> tuple[np.ndarray, float]:
    sigma = _check.number("sigma", sigma, 0.0)
    return _check.eigenvalues("eigenvalues", eigenvalues), sigma**2


def _rows(y: Any, dim: int) -> Any:
    """Check a batch of observations and return its array namespace."""
    if not hasattr(y, "dtype"):
        raise ValueError(f"y is a {type(y).__name__}; expected an array of shape (n, {dim})")
    if np.ma.is_masked(y):
        raise ValueError("y has masked entries; expected an array without a mask")
    xp = array_namespace(y)
    if y.ndim != 2 or y.shape[1] != dim:
        raise ValueError(f"y has shape {tuple(y.shape)}; expected (n, {dim})")
    if not xp.isdtype(y.dtype, "real floating"):
        raise ValueError(f"y has dtype {y.dtype}; expected floating-point numbers")
    if not _check.holds(xp.all(xp.isfinite(y))):
        raise ValueError("y contains nan or inf; expected finite values")
    return xp


def _one_row(y: Any) -> Any:
    """Turn one observation (d,) into a batch."""
    if not hasattr(y, "dtype"):
        raise ValueError(f"y is a {type(y).__name__}; expected an array of shape (d,)")
    return y[None, :]


def _like(y: Any, xp: Any, *arrays: npt.ArrayLike) -> list[Any]:
    """Bring NumPy arrays to the namespace, precision and device of `y`."""
    return [xp.asarray(a, dtype=y.dtype, device=device(y)) for a in arrays]


@dataclass(frozen=True, eq=False)
class LinearDenoiser:
    r"""Affine denoiser :math:`D(y) = \mu + \sum_i g_i(\sigma)\,u_i u_i^\top (y-\mu)`.

    Parameters
    ----------
    model : Gaussian
        Mean, eigenvalues and basis.
    gain : callable, default :func:`wiener`
        ``gain(eigenvalues, sigma) -> (r,)``. With :func:`wiener` this is the posterior mean of
        the Gaussian `model`, and the best affine denoiser of any law with these two moments.

    Examples
    --------
    >>> import numpy as np
    >>> denoiser = LinearDenoiser(Gaussian(np.zeros(2), [3.0, 1.0], np.eye(2)))
    >>> denoiser(np.array([[4.0, 4.0]]), sigma=1.0)
    array([[3., 2.]])
    """

    model: Gaussian
    gain: Gain = wiener

    def __post_init__(self) -> None:
        _check.kind("model", self.model, Gaussian)
        _check.kind("gain", self.gain, Callable)  # type: ignore[arg-type]  # a class to `isinstance`

    @classmethod
    def fit(
        cls, x: npt.ArrayLike, rank: int | None = None, gain: Gain = wiener
    ) -> "LinearDenoiser":
        r"""Fit to samples: with :func:`wiener`, the least-squares denoiser over all noise draws.

        Among affine maps (of linear rank at most `rank`) it minimises
        :math:`\sum_j \mathbb E_\varepsilon|D(x_j+\sigma\varepsilon)-x_j|^2`, at every sigma.

        Parameters
        ----------
        x : array_like, shape (n, d)
            Clean samples.
        rank, gain
            As in :meth:`lindiff.gaussian.Gaussian.fit` and above.

        Returns
        -------
        LinearDenoiser
        """
        return cls(Gaussian.fit(x, rank), gain)

    def gains(self, sigma: float) -> np.ndarray:
        """Return the gain of each mode at noise level `sigma`, shape (r,)."""
        gains = _check.array("result of gain", self.gain(self.model.eigenvalues, sigma), 1)
        _check.same_shape("result of gain", gains.shape, (self.model.rank,))
        return gains

    def matrix(self, sigma: float) -> np.ndarray:
        """Return the linear part, a symmetric (d, d) matrix: the Jacobian of the denoiser."""
        return (self.model.basis.T * self.gains(sigma)) @ self.model.basis

    def colour(self, white: Any, sigma: float, function: Callable[[Any], Any]) -> Any:
        """Multiply rows `white` (n, d) by a function of the linear part, applied to its gains."""
        xp = _rows(white, self.model.dim)
        inside = function(self.gains(sigma))
        basis, inside = _like(white, xp, self.model.basis, inside)
        return _spectral_product(white, basis, inside, float(function(0.0)))

    def __call__(self, y: Any, sigma: float) -> Any:
        """Denoise rows `y` (n, d) at noise standard deviation `sigma`."""
        xp = _rows(y, self.model.dim)
        mean, basis, gains = _like(y, xp, self.model.mean, self.model.basis, self.gains(sigma))
        return mean + _spectral_product(y - mean, basis, gains)


@dataclass(frozen=True, eq=False)
class GuidedDenoiser:
    r"""Guided denoiser :math:`D_u + w\,(D_c - D_u)` [Ho and Salimans 2022].

    With two linear denoisers of one basis it has gains, so that :func:`lindiff.laws.law` gives the
    exact law of every sampler; with other affine ones use :func:`lindiff.laws.affine_map`.

    Parameters
    ----------
    conditional, unconditional : callable
        Denoisers :math:`D_c` and :math:`D_u`, of any kind.
    weight : float
        Weight w: 0 for the unconditional denoiser, 1 for the conditional one; above 1 it leads
        away from the unconditional one. (A scale counted from the conditional one is w - 1.)

    Examples
    --------
    >>> import numpy as np
    >>> one, pool = (LinearDenoiser(Gaussian([0.0], [v], [[1.0]])) for v in (1.0, 3.0))
    >>> guided = GuidedDenoiser(one, pool, weight=2.0)
    >>> guided.gains(1.0), guided(np.array([[4.0]]), sigma=1.0)
    (array([0.25]), array([[1.]]))
    """

    conditional: Denoiser
    unconditional: Denoiser
    weight: float

    def __post_init__(self) -> None:
        for name in ("conditional", "unconditional"):
            _check.kind(name, getattr(self, name), Callable)  # type: ignore[arg-type]
        weight = _check.number("weight", self.weight, -np.inf)
        object.__setattr__(self, "weight", weight)

    def gains(self, sigma: float) -> np.ndarray:
        """Return the gain of each mode at noise level `sigma`, shape (r,): it may be negative.

        Raises
        ------
        ValueError
            Unless both denoisers are linear, with the same basis.
        """
        one = _check.kind("conditional", self.conditional, LinearDenoiser)
        pool = _check.kind("unconditional", self.unconditional, LinearDenoiser)
        if not np.array_equal(one.model.basis, pool.model.basis):
            raise ValueError(
                "the two denoisers have different bases; expected the same for gains "
                "(affine_map takes any affine denoiser)"
            )
        gains = pool.gains(sigma)
        return gains + self.weight * (one.gains(sigma) - gains)

    def __call__(self, y: Any, sigma: float) -> Any:
        """Denoise `y` at noise standard deviation `sigma`."""
        # a copy, for a denoiser may work in place
        pool = self.unconditional(1 * y, sigma)
        return pool + self.weight * (self.conditional(1 * y, sigma) - pool)
