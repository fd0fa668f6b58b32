r"""PCA of noisy samples at any scale: no noisy sample is ever formed.

Gaussian noise keeps its law under rotations of the samples. With clean data
:math:`X = QSV^\top` of rank k only :math:`Q^\top Z` meets the data, and the rest of the noise
enters through a Wishart matrix:

.. math:: (X+\sigma Z)^\top(X+\sigma Z) \sim (SV^\top+\sigma G)^\top(SV^\top+\sigma G)+\sigma^2 R,
          \qquad G \in \mathbb R^{k\times d}\ \text{Gaussian},\quad R\sim\mathrm{Wishart}_d(N-k).
"""

from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import scipy.linalg
import scipy.linalg.blas
import scipy.sparse.linalg

from lindiff import _check
from lindiff.draws import _symmetric_root, wishart
from lindiff.subspaces import fixed_signs
from lindiff.types import Rng


class Bases(NamedTuple):
    """Leading eigenpairs of the noisy sample covariance at each level.

    Attributes
    ----------
    eigenvalues : ndarray, shape (T, r)
    basis : ndarray, shape (T, r, d)
        Rows are eigenvectors.
    """

    eigenvalues: np.ndarray
    basis: np.ndarray


def _core(x: npt.ArrayLike) -> tuple[np.ndarray, int, int, int]:
    """Centred samples up to a rotation of the samples: rows (k, d), and the unused dimensions."""
    x = _check.array("x", x, 2)
    n, d = x.shape
    _check.integer("number of samples (rows of x)", n, 2)
    _, centred = _check.centred(x)
    if n <= d:  # one row fewer, with the same Gram matrix: the mean takes one dimension
        centred = scipy.linalg.helmert(n) @ centred
        return centred, 0, n, d
    return _symmetric_root(centred.T @ centred), n - 1 - d, n, d


def _noisy_gram(core: np.ndarray, extra: int, sigma: float, rng: np.random.Generator) -> np.ndarray:
    noisy = core + sigma * rng.standard_normal(core.shape)
    return noisy.T @ noisy + sigma**2 * wishart(core.shape[1], extra, rng=rng)


def _fresh(
    core: np.ndarray, extra: int, sigmas: np.ndarray, rng: np.random.Generator
) -> Iterator[np.ndarray]:
    for sigma in sigmas:
        yield _noisy_gram(core, extra, sigma, rng)


def _frozen(
    core: np.ndarray, extra: int, sigmas: np.ndarray, rng: np.random.Generator
) -> Iterator[np.ndarray]:
    noise = rng.standard_normal(core.shape)
    cross = core.T @ noise
    data, cross = core.T @ core, cross + cross.T
    noise = noise.T @ noise + wishart(core.shape[1], extra, rng=rng)
    gram, term = np.empty_like(data), np.empty_like(data)  # fresh memory costs more than the sums
    for sigma in sigmas:
        np.multiply(noise, sigma**2, out=gram)
        np.multiply(cross, sigma, out=term)
        gram += term
        gram += data
        yield gram


def _cumulative(
    core: np.ndarray, extra: int, sigmas: np.ndarray, rng: np.random.Generator
) -> list[np.ndarray]:
    previous, grams = 0.0, []
    for sigma in sigmas[::-1]:  # the forward process, from data to noise
        step = np.sqrt(sigma**2 - previous**2)
        core = core + step * rng.standard_normal(core.shape)
        gram = core.T @ core
        if extra:
            gram += step**2 * wishart(core.shape[1], extra, rng=rng)
            core = _symmetric_root(gram)
        grams.append(gram)
        previous = sigma
    return grams[::-1]


_NOISE: dict[str, Callable[..., Iterable[np.ndarray]]] = {
    "fresh": _fresh,
    "cumulative": _cumulative,
    "frozen": _frozen,
}


def noisy_pca(
    x: npt.ArrayLike, sigmas: npt.ArrayLike, rank: int, *, noise: str = "fresh", rng: Rng = None
) -> Bases:
    """PCA of N noisy samples at every noise level, exact in law, without noisy data.

    Parameters
    ----------
    x : array_like, shape (N, d)
        Clean samples, at least two.
    sigmas : array_like, shape (T,)
        Decreasing noise standard deviations, at least two; the last may be 0.
    rank : int
        Number of eigenvectors, at most ``min(N - 1, d)``.
    noise : {"fresh", "cumulative", "frozen"}
        How the noise of different levels is related: independent; the increments of one
        forward process; or one draw per sample, scaled.
    rng : numpy.random.Generator, int or None

    Returns
    -------
    Bases
        Eigenvalues of the centred covariance, normalised by N, and eigenvectors with the signs of
        :func:`~lindiff.subspaces.fixed_signs`. Seeded draws are a continuous function of `x`.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> x = rng.standard_normal((5000, 3)) * [3.0, 1.0, 0.5]
    >>> bases = noisy_pca(x, [2.0, 0.0], 1, noise="frozen", rng=rng)
    >>> bases.eigenvalues.shape, bases.basis.shape
    ((2, 1), (2, 1, 3))
    >>> bool(abs(bases.basis[1, 0, 0]) > 0.99)
    True
    """
    sigmas = _check.sigmas(sigmas)
    if noise not in _NOISE:
        raise ValueError(f"noise is {noise!r}; expected one of {', '.join(_NOISE)}")
    core, extra, n, d = _core(x)
    rng = _check.generator(rng)
    rank = _check.integer("rank", rank, 1, min(n - 1, d))
    values, basis = np.empty((len(sigmas), rank)), np.empty((len(sigmas), rank, d))
    for t, gram in enumerate(_NOISE[noise](core, extra, sigmas, rng)):
        values[t], vectors = _leading(gram, rank)
        basis[t] = fixed_signs(vectors)
    return Bases(values / n, basis)


def _leading(gram: np.ndarray, rank: int) -> tuple[np.ndarray, np.ndarray]:
    d = len(gram)
    if 6 * rank < d and gram.any():  # Lanczos pays for a few eigenvectors, and needs a matrix
        product = scipy.sparse.linalg.LinearOperator(  # dsymv reads half of the matrix
            gram.shape, lambda v: scipy.linalg.blas.dsymv(1.0, gram.T, v), dtype=float
        )
        # a start without any symmetry: one that images have would hide eigenvectors that lack it
        start = np.random.default_rng(0).standard_normal(d)
        values, vectors = scipy.sparse.linalg.eigsh(product, k=rank, v0=start, tol=1e-12)
    else:
        values, vectors = scipy.linalg.eigh(gram, subset_by_index=(d - rank, d - 1))
    return np.maximum(values[::-1], 0.0), vectors[:, ::-1].T
