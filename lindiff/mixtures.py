r"""Laws that are not Gaussian, with exact denoisers: mixtures, and the samples themselves.

Observation model and array types as in :mod:`lindiff.denoisers`.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
from array_api_compat import array_namespace

from lindiff import _check
from lindiff.denoisers import LinearDenoiser, _like, _one_row, _rows
from lindiff.gaussian import Gaussian
from lindiff.types import Rng


def _scaled_gaps(xp: Any, squares: Any, sigma: float) -> Any:
    """Differences of squares (n, K) to the least of each row, over sigma squared."""
    gaps = squares - xp.min(squares, axis=1, keepdims=True)
    # twice by sigma: its square may be zero in the precision of the caller
    least = float(xp.finfo(squares.dtype).smallest_normal)
    scale = max(float(sigma), least)
    with np.errstate(over="ignore"):  # infinitely far is what is meant
        return gaps / scale / scale


def _covariance(points: Any, weights: Any) -> Any:
    """Covariance (d, d) of points (n, d) with the given probabilities (n,)."""
    apart = points - points[0, :]  # where all are far from the origin, their differences count
    apart = apart - weights[None, :] @ apart
    return (apart.T * weights) @ apart


def _softmax(xp: Any, logits: Any) -> Any:
    weights = xp.exp(logits - xp.max(logits, axis=1, keepdims=True))
    return weights / xp.sum(weights, axis=1, keepdims=True)


@dataclass(frozen=True, eq=False)
class GaussianMixture:
    r"""Exact denoiser of a mixture of Gaussians: non-linear, with a closed-form Jacobian.

    .. math:: D_\sigma(y) = \sum_k \rho_k(y)\,D_{\sigma,k}(y), \qquad
       \partial_y D_\sigma = \sum_k \rho_k W_k
       + \sigma^{-2}\Big(\sum_k \rho_k D_k D_k^\top - D D^\top\Big)

    with responsibilities :math:`\rho_k(y) \propto w_k\,\mathcal N(y;\mu_k,\Sigma_k+\sigma^2 I)` and
    the Wiener matrix :math:`W_k` of each component.

    Parameters
    ----------
    weights : array_like, shape (K,)
        Positive, summing to one.
    components : sequence of Gaussian, length K
        On the same space.

    Examples
    --------
    >>> import numpy as np
    >>> points = [Gaussian(np.array([m]), [], np.empty((0, 1))) for m in (-1.0, 1.0)]
    >>> denoiser = GaussianMixture([0.5, 0.5], points)
    >>> bool(np.isclose(denoiser(np.array([[0.3]]), sigma=1.0)[0, 0], np.tanh(0.3)))
    True
    """

    weights: np.ndarray
    components: tuple[Gaussian, ...]

    def __init__(self, weights: npt.ArrayLike, components: Iterable[Gaussian]) -> None:
        shares = _check.array("weights", weights, 1)
        components = tuple(components)
        _check.same_shape("weights", shares.shape, (len(components),))
        if shares.size == 0 or shares.min() <= 0 or abs(shares.sum() - 1) > 1e-6:
            raise ValueError(
                f"weights is {shares}; expected positive numbers that sum to 1, "
                f"not to {shares.sum():.6g}"
            )
        if not all(isinstance(c, Gaussian) for c in components):
            kinds = ", ".join(sorted({type(c).__name__ for c in components}))
            raise ValueError(f"components are of type {kinds}; expected Gaussian laws")
        if len({c.dim for c in components}) > 1:
            raise ValueError(
                f"components have dimensions {[c.dim for c in components]}; expected one"
            )
        object.__setattr__(self, "weights", shares / shares.sum())
        object.__setattr__(self, "components", components)

    def sample(self, n: int, *, rng: Rng = None) -> np.ndarray:
        """Draw `n` independent samples, shape (n, d)."""
        rng = _check.generator(rng)
        counts = rng.multinomial(_check.integer("n", n, 1), self.weights)
        drawn = [c.sample(m, rng=rng) for c, m in zip(self.components, counts, strict=True) if m]
        return rng.permutation(np.concatenate(drawn))

    def _evidence(self, y: Any, sigma: float, xp: Any) -> tuple[Any, Any]:
        r"""Constants (K,) and squares (n, K) of the log densities.

        Component k has the log density ``constant[k] - square[:, k] / (2 * sigma**2)``. Squares
        are not divided by sigma squared here: in low precision that overflows.
        """
        sigma = _check.number("sigma", sigma, 0.0, open_low=True)
        constants, squares = [], []
        for weight, c in zip(self.weights, self.components, strict=True):
            total = c.eigenvalues + sigma**2
            logs = np.log(total, out=np.full(c.rank, 2 * np.log(sigma)), where=total > 0)
            kept = np.divide(sigma**2, total, out=np.ones(c.rank), where=c.eigenvalues > 0)
            volume = logs.sum() + (c.dim - c.rank) * 2 * np.log(sigma)
            constants.append(float(np.log(weight) - 0.5 * (volume + c.dim * np.log(2 * np.pi))))
            mean, basis, kept = _like(y, xp, c.mean, c.basis, kept)
            inside = (y - mean) @ basis.T
            outside = y - mean - inside @ basis  # not |y - mean|^2 - |inside|^2: that cancels
            squares.append(xp.sum(inside**2 * kept, axis=1) + xp.sum(outside**2, axis=1))
        return _like(y, xp, np.array(constants))[0], xp.stack(squares, axis=1)

    def _responsibilities(self, y: Any, sigma: float, xp: Any) -> Any:
        constants, squares = self._evidence(y, sigma, xp)
        return _softmax(xp, constants - _scaled_gaps(xp, squares, sigma) / 2)

    def log_density(self, y: Any, sigma: float) -> Any:
        """Log density of the noisy law at rows `y`, shape (n,)."""
        xp = _rows(y, self.components[0].dim)
        constants, squares = self._evidence(y, sigma, xp)
        logits = constants - _scaled_gaps(xp, squares, sigma) / 2
        top = xp.max(logits, axis=1)
        common = xp.min(squares, axis=1) / float(sigma) / float(sigma) / 2
        return top + xp.log(xp.sum(xp.exp(logits - top[:, None]), axis=1)) - common

    def __call__(self, y: Any, sigma: float) -> Any:
        """Denoise rows `y` (n, d) at noise standard deviation `sigma` > 0."""
        xp = _rows(y, self.components[0].dim)
        rho = self._responsibilities(y, sigma, xp)
        return sum(
            rho[:, k : k + 1] * LinearDenoiser(c)(y, sigma) for k, c in enumerate(self.components)
        )

    def jacobian(self, y: Any, sigma: float) -> Any:
        """Jacobian at one point `y` (d,), shape (d, d): symmetric, ``Cov[x|y] / sigma**2``."""
        rows = _one_row(y)
        xp = _rows(rows, self.components[0].dim)
        rho = self._responsibilities(rows, sigma, xp)[0, :]
        parts = [LinearDenoiser(c) for c in self.components]
        means = xp.concat([part(rows, sigma) for part in parts], axis=0)
        within = sum(rho[k] * _like(y, xp, part.matrix(sigma))[0] for k, part in enumerate(parts))
        return within + _covariance(means, rho) / float(sigma) ** 2


@dataclass(frozen=True, eq=False)
class EmpiricalBayes:
    r"""Exact denoiser of the empirical law of `x`: the training optimum, which memorises.

    .. math:: D_\sigma(y) = \sum_j \rho_j(y)\,x_j, \qquad
              \rho_j(y) \propto \exp(-|y-x_j|^2/2\sigma^2)

    Parameters
    ----------
    x : array_like, shape (N, d)
        Training samples.

    Examples
    --------
    >>> import numpy as np
    >>> denoiser = EmpiricalBayes([[0.0], [1.0]])
    >>> denoiser(np.array([[0.5], [0.9]]), sigma=0.1).round(4)
    array([[0.5],
           [1. ]])
    """

    x: np.ndarray
    _centre: np.ndarray = field(init=False)
    _apart: np.ndarray = field(init=False)
    _half: np.ndarray = field(init=False)  # squared lengths of the rows of `_apart`, over 2

    def __init__(self, x: npt.ArrayLike) -> None:
        x = _check.array("x", x, 2)
        _check.integer("number of samples (rows of x)", len(x), 1)
        centre, apart = _check.centred(x)  # distances far from the origin would lose their digits
        half = (apart**2).sum(axis=1) / 2
        named = (("x", x.copy()), ("_centre", centre), ("_apart", apart), ("_half", half))
        for name, value in named:
            object.__setattr__(self, name, value)

    def __repr__(self) -> str:
        n, dim = self.x.shape
        return f"EmpiricalBayes(n={n}, dim={dim})"

    def weights(self, y: Any, sigma: float) -> Any:
        """Posterior probabilities of the training samples given rows `y`, shape (n, N).

        Raises
        ------
        ValueError
            If `y` is no finite batch, or `sigma` is not positive or too small to divide by its
            square in the precision of `y`.
        """
        sigma = _check.number("sigma", sigma, 0.0, open_low=True)
        xp = _rows(y, self.x.shape[1])
        smallest = float(xp.finfo(y.dtype).smallest_normal)
        variance = _check.number("sigma", sigma, smallest**0.4) ** 2
        centre, x, half = _like(y, xp, self._centre, self._apart, self._half)
        return _softmax(xp, ((y - centre) @ x.T - half) / variance)

    def __call__(self, y: Any, sigma: float) -> Any:
        """Denoise rows `y` (n, d) at noise standard deviation `sigma` > 0."""
        rho = self.weights(y, sigma)
        (x,) = _like(y, array_namespace(y), self.x)
        return rho @ x

    def jacobian(self, y: Any, sigma: float) -> Any:
        """Jacobian at one point `y` (d,), shape (d, d): symmetric, ``Cov[x|y] / sigma**2``."""
        rho = self.weights(_one_row(y), sigma)[0, :]
        (x,) = _like(y, array_namespace(y), self._apart)
        return _covariance(x, rho) / float(sigma) ** 2
