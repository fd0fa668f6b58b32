r"""Exact simulation of noisy PCA at any scale: no noisy sample is ever formed.

Two facts do the work. Gaussian noise keeps its law under rotations of the samples, so with clean
data :math:`X = QSV^\top` of rank k only :math:`Q^\top Z` meets the data, and the rest of the noise
enters through a Wishart matrix:

.. math:: (X+\sigma Z)^\top(X+\sigma Z) \sim (SV^\top+\sigma G)^\top(SV^\top+\sigma G)+\sigma^2 R,
          \qquad G \in \mathbb R^{k\times d}\ \text{Gaussian},\quad R\sim\mathrm{Wishart}_d(N-k).

And if the data are Gaussian spikes, rotations bring the whole matrix to a narrow band.
"""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import scipy.linalg
import scipy.sparse.linalg

from lindiff import _check
from lindiff.types import Rng


class Alignment(NamedTuple):
    """Eigenvalues of the noisy sample covariance and overlaps of its eigenvectors.

    Attributes
    ----------
    eigenvalues : ndarray, shape (size, r)
        Descending.
    squared_cosines : ndarray, shape (size, r, r)
        Entry [s, i, j] is the squared cosine of the i-th estimated with the j-th true direction.
    """

    eigenvalues: np.ndarray
    squared_cosines: np.ndarray


# Beyond this many lengths of decay an eigenvector at the edge is below rounding.
_DEPTH = 24


def draw_alignment(
    dim: int, n_samples: int, spikes: npt.ArrayLike, sigma: float, size: int, *, rng: Rng = None
) -> Alignment:
    r"""Draw eigenvalues and squared cosines from their exact law, without making any data.

    In coordinates whose first r axes are the true directions, rotations that keep those axes
    reduce the N × d matrix of noisy samples to an upper banded B with independent entries:
    :math:`B_{ii}=\sigma\chi_{N-i+1}`, :math:`B_{i,i+r}=\sigma\chi_{d-r-i+1}`, Gaussian between,
    and column j times :math:`\sqrt{\lambda_j+\sigma^2}/\sigma`. For r = 1 it is bidiagonal
    [Dumitriu and Edelman 2002; Bloemendal and Virág 2013, 2016]. Eigenvectors at the upper edge
    live in the corner of B, to a depth of order :math:`N^{1/3}`: only that corner is drawn, and
    grown until the weight at its end is below rounding. The cost hardly depends on d.

    Parameters
    ----------
    dim, n_samples : int
        Dimension d and number N of samples, at least r each.
    spikes : array_like, shape (r,) or float
        Variances of the data along the true directions, descending; zero is allowed.
    sigma : float
        Noise standard deviation, positive.
    size : int
        Number of independent draws.
    rng : numpy.random.Generator, int or None

    Returns
    -------
    Alignment
        Eigenvalues (size, r) and squared cosines (size, r, r) of the r leading eigenvectors.

    Examples
    --------
    >>> draws = draw_alignment(10**6, 2 * 10**6, 2.0, 1.0, 20, rng=0)
    >>> draws.squared_cosines.shape
    (20, 1, 1)
    >>> round(float(draws.squared_cosines.mean()), 2)  # the limit is 0.7
    0.7
    """
    values, cosine = draw_overlaps(dim, n_samples, spikes, sigma, size, rng=rng)
    return Alignment(values, cosine**2)


def draw_overlaps(
    dim: int, n_samples: int, spikes: npt.ArrayLike, sigma: float, size: int, *, rng: Rng = None
) -> tuple[np.ndarray, np.ndarray]:
    """Draw eigenvalues and *signed* cosines: :func:`draw_alignment` before squaring.

    Parameters, errors and cost as for :func:`draw_alignment`.

    Returns
    -------
    eigenvalues : ndarray, shape (size, r)
        Descending.
    cosine : ndarray, shape (size, r, r)
        Entry [s, i, j] is the product of the i-th estimated with the j-th true direction, each
        estimated one turned towards its own true one: entry [s, i, i] is not negative.

    Examples
    --------
    >>> _, cosine = draw_overlaps(9, 10**6, [4.0, 1.0], 0.1, 1, rng=0)
    >>> abs(cosine[0]).round(2), bool((cosine[0].diagonal() > 0).all())
    (array([[1., 0.],
           [0., 1.]]), True)
    """
    lam = _check.eigenvalues("spikes", np.atleast_1d(spikes))
    r = _check.integer("number of spikes", lam.size, 1)
    d, n = _check.integer("dim", dim, r), _check.integer("n_samples", n_samples, r)
    sigma = _check.number("sigma", sigma, 0.0, open_low=True)
    size, rng = _check.integer("size", size, 1), _check.generator(rng)
    scale = np.sqrt(lam / sigma**2 + 1)
    eigenvalue, cosine = np.empty((size, r)), np.empty((size, r, r))
    for s in range(size):
        values, corner = _edge_of_band(d, n, scale, rng)
        eigenvalue[s] = sigma**2 * values / n
        cosine[s] = corner.T
    towards = np.where(np.diagonal(cosine, axis1=1, axis2=2) < 0, -1.0, 1.0)
    return eigenvalue, cosine * towards[:, :, None]


def _edge_of_band(
    d: int, n: int, scale: np.ndarray, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Top r eigenvalues of B'B for unit noise and the first r entries of their vectors."""
    r = scale.size
    full = min(n, d)
    depth = r * min(full, 30) + int(_DEPTH * _edge_length(d, n))
    band = np.empty((r + 1, 0))  # band[k, i] = B[i, i + k]
    while True:
        depth = min(depth, full)
        band = np.hstack([band, _band_rows(d, n, r, band.shape[1], depth, rng)])
        values, vectors = _top_of_gram(band, scale, d)
        tail = np.abs(vectors[-2 * r - 2 :]).max() if depth < full else 0.0
        if tail < 1e-9:  # its square is what the rest of B could change
            return values, vectors[:r]
        depth *= 2


def _edge_length(d: int, n: int) -> float:
    """Decay length, in rows of B, of an eigenvector at the upper edge of the bulk."""
    a, b = float(n), float(d)
    slope = (np.sqrt(a) + np.sqrt(b)) ** 2 / np.sqrt(a * b)  # fall of the local edge per row
    return (np.sqrt(a * b) / slope) ** (1 / 3)


def _band_rows(
    d: int, n: int, r: int, start: int, stop: int, rng: np.random.Generator
) -> np.ndarray:
    """Rows start..stop of the band for unit noise and without spikes."""
    i = np.arange(start, stop)
    rows = rng.standard_normal((r + 1, i.size))
    rows[0] = np.sqrt(rng.chisquare(n - i))
    # entries to the right of column d have no degrees of freedom, and are never read
    rows[r] = np.sqrt(rng.chisquare(np.maximum(d - r - i, 1)))
    return rows


def _top_of_gram(band: np.ndarray, scale: np.ndarray, d: int) -> tuple[np.ndarray, np.ndarray]:
    """Top r eigenpairs of B'B, B the banded matrix with its first r columns scaled."""
    r, rows = band.shape[0] - 1, band.shape[1]
    columns = min(rows + r, d)
    band = band.copy()
    for j in range(r):  # column j holds band[k, j - k]
        for k in range(min(j, r) + 1):
            if j - k < rows:
                band[k, j - k] *= scale[j]
    gram = np.zeros((r + 1, columns))  # lower form: gram[m, j] = (B'B)[j + m, j]
    for m in range(r + 1):
        for k in range(r + 1 - m):  # (B'B)[j + m, j] sums B[i, j] B[i, j + m] with i = j - k
            count = min(rows, columns - k - m)
            gram[m, k : k + count] += band[k, :count] * band[k + m, :count]
    top = (columns - r, columns - 1)
    if r == 1:
        values, vectors = scipy.linalg.eigh_tridiagonal(
            gram[0], gram[1, :-1], select="i", select_range=top
        )
    elif columns < 200:
        values, vectors = scipy.linalg.eig_banded(gram, lower=True, select="i", select_range=top)
    else:
        shifts = range(1, r + 1)
        matrix = scipy.sparse.diags_array(
            [gram[0], *(gram[m, :-m] for m in shifts), *(gram[m, :-m] for m in shifts)],
            offsets=[0, *(-m for m in shifts), *shifts],
            format="csr",
        )
        corner = np.zeros(columns)
        corner[: 4 * r] = 1.0
        values, vectors = scipy.sparse.linalg.eigsh(matrix, k=r, v0=corner, ncv=max(40, 4 * r))
    return values[::-1], vectors[:, ::-1]


def _symmetric_root(gram: np.ndarray) -> np.ndarray:
    r"""Symmetric square root of a Gram matrix, a continuous function of it.

    The root of an eigenvalue has an infinite slope at zero: rounding of size epsilon in the matrix
    would be worth its root, 1e-8, in the result. Eigenvalues within rounding of zero therefore
    count as zero, and those up to twice that bound count in part, so that nothing jumps.

    Parameters
    ----------
    gram : ndarray, shape (d, d)
        Symmetric and positive semi-definite.

    Returns
    -------
    ndarray, shape (d, d)

    Examples
    --------
    >>> _symmetric_root(np.array([[5.0, 4.0], [4.0, 5.0]]))
    array([[2., 1.],
           [1., 2.]])
    """
    values, vectors = scipy.linalg.eigh(gram)
    floor = max(len(gram), 100) * np.finfo(float).eps * max(values[-1], 0.0)
    if floor == 0:
        return np.zeros_like(gram)
    roots = np.sqrt(np.maximum(values, 0.0)) * np.clip(values / floor - 1, 0.0, 1.0)
    return (vectors * roots) @ vectors.T


def wishart(dim: int, degrees: int, *, rng: Rng = None) -> np.ndarray:
    """Draw a white Wishart matrix, by Bartlett's factor or, if it is singular, directly.

    Parameters
    ----------
    dim, degrees : int
        Dimension d and degrees of freedom, zero allowed.
    rng : numpy.random.Generator, int or None

    Returns
    -------
    ndarray, shape (d, d)
        Distributed as ``z.T @ z`` for a Gaussian z of shape (degrees, d).

    Examples
    --------
    >>> wishart(2, 10**6, rng=0).shape
    (2, 2)
    """
    dim, degrees = _check.integer("dim", dim, 1), _check.integer("degrees", degrees, 0)
    rng = _check.generator(rng)
    if degrees <= dim:
        factor = rng.standard_normal((degrees, dim))
        return factor.T @ factor
    factor = np.tril(rng.standard_normal((dim, dim)), -1)
    np.fill_diagonal(factor, np.sqrt(rng.chisquare(degrees - np.arange(dim))))
    return factor @ factor.T
