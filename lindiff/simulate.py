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
import scipy.linalg
import scipy.linalg.blas
import scipy.sparse.linalg

from lindiff import _check
from lindiff.alignment import fixed_signs


class Alignment(NamedTuple):
    """Eigenvalues of the noisy sample covariance and overlaps of its eigenvectors.

    Attributes
    ----------
    eigenvalue : ndarray, shape (size, r)
        Descending.
    squared_cosine : ndarray, shape (size, r, r)
        Entry [s, i, j] is the squared cosine of the i-th estimated with the j-th true direction.
    """

    eigenvalue: np.ndarray
    squared_cosine: np.ndarray


# Beyond this many lengths of decay an eigenvector at the edge is below rounding.
_DEPTH = 24


def sample_alignment(dim, n_samples, spikes, sigma, size, rng):
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
    rng : numpy.random.Generator

    Returns
    -------
    Alignment
        Eigenvalues (size, r) and squared cosines (size, r, r) of the r leading eigenvectors.

    Raises
    ------
    ValueError
        If an argument is out of its range.

    Examples
    --------
    >>> draws = sample_alignment(10**6, 2 * 10**6, 2.0, 1.0, 20, np.random.default_rng(0))
    >>> draws.squared_cosine.shape
    (20, 1, 1)
    >>> round(float(draws.squared_cosine.mean()), 2)  # the limit is 0.7
    0.7
    """
    values, cosine = sample_overlaps(dim, n_samples, spikes, sigma, size, rng)
    return Alignment(values, cosine**2)


def sample_overlaps(dim, n_samples, spikes, sigma, size, rng):
    """Draw eigenvalues and *signed* cosines: :func:`sample_alignment` before squaring.

    Parameters, errors and cost as for :func:`sample_alignment`.

    Returns
    -------
    eigenvalue : ndarray, shape (size, r)
        Descending.
    cosine : ndarray, shape (size, r, r)
        Entry [s, i, j] is the product of the i-th estimated with the j-th true direction, each
        estimated one turned towards its own true one: entry [s, i, i] is not negative.

    Examples
    --------
    >>> _, cosine = sample_overlaps(9, 10**6, [4.0, 1.0], 0.1, 1, np.random.default_rng(0))
    >>> abs(cosine[0]).round(2), bool((cosine[0].diagonal() > 0).all())
    (array([[1., 0.],
           [0., 1.]]), True)
    """
    lam = _check.eigenvalues("spikes", np.atleast_1d(spikes))
    r = _check.integer("number of spikes", lam.size, 1)
    d, n = _check.integer("dim", dim, r), _check.integer("n_samples", n_samples, r)
    sigma = _check.number("sigma", sigma, 0.0, open_low=True)
    size = _check.integer("size", size, 1)
    scale = np.sqrt(lam / sigma**2 + 1)
    eigenvalue, cosine = np.empty((size, r)), np.empty((size, r, r))
    for s in range(size):
        values, corner = _edge_of_band(d, n, scale, rng)
        eigenvalue[s] = sigma**2 * values / n
        cosine[s] = corner.T
    towards = np.where(np.diagonal(cosine, axis1=1, axis2=2) < 0, -1.0, 1.0)
    return eigenvalue, cosine * towards[:, :, None]


def _edge_of_band(d, n, scale, rng):
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


def _edge_length(d, n):
    """Decay length, in rows of B, of an eigenvector at the upper edge of the bulk."""
    a, b = float(n), float(d)
    slope = (np.sqrt(a) + np.sqrt(b)) ** 2 / np.sqrt(a * b)  # fall of the local edge per row
    return (np.sqrt(a * b) / slope) ** (1 / 3)


def _band_rows(d, n, r, start, stop, rng):
    """Rows start..stop of the band for unit noise and without spikes."""
    i = np.arange(start, stop)
    rows = rng.standard_normal((r + 1, i.size))
    rows[0] = np.sqrt(rng.chisquare(n - i))
    left = d - r - i
    rows[r] = np.where(left > 0, np.sqrt(rng.chisquare(np.maximum(left, 1))), 0.0)
    for k in range(1, r):  # no entries to the right of column d
        rows[k, i + k >= d] = 0.0
    return rows


def _top_of_gram(band, scale, d):
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


def _core(x):
    """Centred samples up to a rotation of the samples: rows (k, d), and the unused dimensions."""
    x = _check.array("x", x, 2)
    n, d = x.shape
    _check.integer("number of samples (rows of x)", n, 2)
    _, centred = _check.centred(x)
    if n <= d:  # one row fewer, with the same Gram matrix: the mean takes one dimension
        centred = scipy.linalg.helmert(n) @ centred
        return centred, 0, n, d
    return symmetric_root(centred.T @ centred), n - 1 - d, n, d


def symmetric_root(gram):
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
    >>> symmetric_root(np.array([[5.0, 4.0], [4.0, 5.0]]))
    array([[2., 1.],
           [1., 2.]])
    """
    values, vectors = scipy.linalg.eigh(gram)
    floor = max(len(gram), 100) * np.finfo(float).eps * max(values[-1], 0.0)
    if floor == 0:
        return np.zeros_like(gram)
    roots = np.sqrt(np.maximum(values, 0.0)) * np.clip(values / floor - 1, 0.0, 1.0)
    return (vectors * roots) @ vectors.T


def wishart(dim, degrees, rng):
    """Draw a white Wishart matrix, by Bartlett's factor or, if it is singular, directly.

    Parameters
    ----------
    dim, degrees : int
        Dimension d and degrees of freedom, zero allowed.
    rng : numpy.random.Generator

    Returns
    -------
    ndarray, shape (d, d)
        Distributed as ``z.T @ z`` for a Gaussian z of shape (degrees, d).

    Examples
    --------
    >>> wishart(2, 10**6, np.random.default_rng(0)).shape
    (2, 2)
    """
    if degrees <= dim:
        factor = rng.standard_normal((degrees, dim))
        return factor.T @ factor
    factor = np.tril(rng.standard_normal((dim, dim)), -1)
    np.fill_diagonal(factor, np.sqrt(rng.chisquare(degrees - np.arange(dim))))
    return factor @ factor.T


def sample_noisy_covariance(x, sigma, rng):
    """Draw the covariance that N noisy samples would have, without drawing the noise.

    Exact in law given `x`; after one Gram matrix of `x` the cost does not depend on N.

    Parameters
    ----------
    x : array_like, shape (N, d)
        Clean samples, at least two.
    sigma : float
        Noise standard deviation, ``>= 0``.
    rng : numpy.random.Generator

    Returns
    -------
    ndarray, shape (d, d)
        Centred and normalised by N.

    Raises
    ------
    ValueError
        If an argument is out of its range.

    Examples
    --------
    >>> x = np.zeros((1000, 2))
    >>> sample_noisy_covariance(x, 2.0, np.random.default_rng(0)).round()
    array([[4., 0.],
           [0., 4.]])
    """
    core, extra, n, _ = _core(x)
    return _noisy_gram(core, extra, _check.number("sigma", sigma, 0.0), rng) / n


def _noisy_gram(core, extra, sigma, rng):
    noisy = core + sigma * rng.standard_normal(core.shape)
    return noisy.T @ noisy + sigma**2 * wishart(core.shape[1], extra, rng)


def _fresh(core, extra, sigmas, rng):
    for sigma in sigmas:
        yield _noisy_gram(core, extra, sigma, rng)


def _frozen(core, extra, sigmas, rng):
    noise = rng.standard_normal(core.shape)
    cross = core.T @ noise
    data, cross = core.T @ core, cross + cross.T
    noise = noise.T @ noise + wishart(core.shape[1], extra, rng)
    gram, term = np.empty_like(data), np.empty_like(data)  # fresh memory costs more than the sums
    for sigma in sigmas:
        np.multiply(noise, sigma**2, out=gram)
        np.multiply(cross, sigma, out=term)
        gram += term
        gram += data
        yield gram


def _cumulative(core, extra, sigmas, rng):
    previous, grams = 0.0, []
    for sigma in sigmas[::-1]:  # the forward process, from data to noise
        step = np.sqrt(sigma**2 - previous**2)
        core = core + step * rng.standard_normal(core.shape)
        gram = core.T @ core
        if extra:
            gram += step**2 * wishart(core.shape[1], extra, rng)
            core = symmetric_root(gram)
        grams.append(gram)
        previous = sigma
    return grams[::-1]


_NOISE = {"fresh": _fresh, "cumulative": _cumulative, "frozen": _frozen}


def noisy_pca(x, sigmas, rank, *, noise="fresh", rng):
    """PCA of N noisy samples at every noise level, exact in law, without noisy data.

    Parameters
    ----------
    x : array_like, shape (N, d)
        Clean samples, at least two.
    sigmas : array_like, shape (T,)
        Decreasing noise standard deviations; the last may be 0.
    rank : int
        Number of eigenvectors, at most ``min(N - 1, d)``.
    noise : {"fresh", "cumulative", "frozen"}
        How the noise of different levels is related: independent; the increments of one
        forward process; or one draw per sample, scaled.
    rng : numpy.random.Generator

    Returns
    -------
    Bases
        Eigenvalues of the centred covariance, normalised by N, and eigenvectors with the signs of
        :func:`~lindiff.alignment.fixed_signs`. Seeded draws are a continuous function of `x`.

    Raises
    ------
    ValueError
        If a shape, the order of `sigmas`, `rank` or `noise` is wrong.

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
    rank = _check.integer("rank", rank, 1, min(n - 1, d))
    values, basis = np.empty((len(sigmas), rank)), np.empty((len(sigmas), rank, d))
    for t, gram in enumerate(_NOISE[noise](core, extra, sigmas, rng)):
        values[t], vectors = _leading(gram, rank)
        basis[t] = fixed_signs(vectors)
    return Bases(values / n, basis)


def _leading(gram, rank):
    d = len(gram)
    if 6 * rank < d:  # Lanczos pays for a few eigenvectors only
        product = scipy.sparse.linalg.LinearOperator(  # dsymv reads half of the matrix
            gram.shape, lambda v: scipy.linalg.blas.dsymv(1.0, gram.T, v), dtype=float
        )
        # a start without any symmetry: one that images have would hide eigenvectors that lack it
        start = np.random.default_rng(0).standard_normal(d)
        values, vectors = scipy.sparse.linalg.eigsh(product, k=rank, v0=start, tol=1e-12)
    else:
        values, vectors = scipy.linalg.eigh(gram, subset_by_index=(d - rank, d - 1))
    return values[::-1], vectors[:, ::-1].T


def sweep(function, cells, *, seed, n_jobs=None):
    """Run a simulation on every cell of a design, each with its own random stream.

    The streams are spawned from `seed` by position, so the numbers do not depend on how many
    workers there are or where they run; ``joblib.parallel_config(backend="dask")`` moves the
    sweep to a Dask cluster. A progress bar appears on a terminal only.

    Parameters
    ----------
    function : callable
        ``function(cell, rng)``.
    cells : sequence
        One argument per run, of any type.
    seed : int
        Root of all random streams.
    n_jobs : int, optional
        Number of worker processes; by default what joblib's configuration says, else one.

    Returns
    -------
    list
        The results, in the order of `cells`.

    Raises
    ------
    ImportError
        If joblib or tqdm is not installed.

    Examples
    --------
    >>> sweep(lambda cell, rng: cell * int(rng.integers(1, 10)), [1, 10, 100], seed=0)
    [8, 60, 600]
    """
    joblib, tqdm = (_check.optional(name, "sweep") for name in ("joblib", "tqdm"))
    streams = np.random.SeedSequence(seed).spawn(len(cells))
    jobs = (
        joblib.delayed(function)(cell, np.random.default_rng(stream))
        for cell, stream in zip(cells, streams, strict=True)
    )
    bar = tqdm.tqdm(jobs, total=len(cells), disable=None, leave=False)
    return joblib.Parallel(n_jobs=n_jobs)(bar)
