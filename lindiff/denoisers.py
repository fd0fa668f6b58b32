r"""Denoisers with closed forms: callables ``D(y, sigma)`` on rows ``(n, d)``.

Observation model: :math:`y = x + \sigma\varepsilon` with standard Gaussian noise; the denoiser of
smallest mean squared error is :math:`D_\sigma(y) = \mathbb E[x|y]`. Everything here accepts NumPy
arrays and, unchanged, torch tensors: the answer comes in the caller's array type.

A *gain* is a function ``(eigenvalues, sigma) -> (r,)``. A zero eigenvalue must get gain zero,
for that is what a :class:`LinearDenoiser` does outside the span of its model.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from array_api_compat import array_namespace, device

from lindiff import _check
from lindiff.gaussian import Gaussian, _spectral_product
from lindiff.types import Gain


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
