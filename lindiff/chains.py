r"""Chains of estimated projections: the reverse process as power iteration, and where it is not.

At level t the denoiser is the projection :math:`P_t=U_t^\top U_t` on the r leading eigenvectors
(rows of :math:`U_t`) of the covariance of N noisy samples. Generation without new noise applies

.. math:: \mathcal P_T = P_1 \cdots P_T
          = U_1^\top\,(U_1U_2^\top)(U_2U_3^\top)\cdots(U_{T-1}U_T^\top)\,U_T ,

so that only the r × r overlaps of neighbouring bases are ever multiplied.
"""

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from lindiff import _check
from lindiff.draws import draw_overlaps, wishart
from lindiff.spiked import alignment_limit
from lindiff.types import Rng


class Chain(NamedTuple):
    r"""A composed projection :math:`e^{\ell}\,L^\top C\,R`, or a stack of them along leading axes.

    Attributes
    ----------
    core : ndarray, shape (..., r, r)
        C, of spectral norm one (zero if the chain vanishes).
    left, right : ndarray, shape (..., r, m)
        Orthonormal rows: the estimated basis at the last (least noisy) and at the first level, or
        its coordinates in m true directions.
    log_norm : ndarray, shape (...)
        Logarithm of the spectral norm, which may be far below the smallest float.
    """

    core: np.ndarray
    left: np.ndarray
    right: np.ndarray
    log_norm: np.ndarray

    @property
    def singular_values(self) -> np.ndarray:
        """Singular values of the chain divided by its norm, shape (..., r): the first is 1."""
        return np.linalg.svd(self.core, compute_uv=False)

    def matrix(self, basis: npt.ArrayLike | None = None) -> np.ndarray:
        r"""Matrix of the chain divided by its norm, in the directions in the rows of `basis`.

        Entry (i, j) is :math:`u_i^\top\mathcal P_Tu_j/|\mathcal P_T|`, shape (..., m, m). Without
        `basis`, the coordinates are those of `left` and `right`.
        """
        left, right = self.left, self.right
        if basis is not None:
            basis = _check.array("basis", basis, 2)
            _check.same_shape("row of basis", basis.shape[1:], left.shape[-1:])
            left, right = left @ basis.T, right @ basis.T
        return np.swapaxes(left, -1, -2) @ self.core @ right


def projection_chain(bases: npt.ArrayLike) -> Chain:
    r"""Compose the projections on bases estimated at successive levels, in O(T r² d).

    Parameters
    ----------
    bases : array_like, shape (T, r, d)
        Orthonormal rows at each level, from noise to data, as
        :func:`lindiff.pca.noisy_pca` returns them.

    Returns
    -------
    Chain
        ``matrix(basis)`` in any basis, ``singular_values``, ``log_norm``.

    Examples
    --------
    >>> tilted = np.array([[np.sqrt(0.5), np.sqrt(0.5)]])
    >>> chain = projection_chain([np.eye(2)[:1], tilted])
    >>> round(float(np.exp(chain.log_norm)), 4)
    0.7071
    >>> chain.matrix().round(4)
    array([[0.7071, 0.    ],
           [0.7071, 0.    ]])
    """
    bases = _check.array("bases", bases, 3)
    _check.integer("number of levels", len(bases), 1)
    _check.integer("rank", bases.shape[1], 1, bases.shape[2])
    _check.orthonormal("bases", bases)
    overlaps = bases[1:] @ bases[:-1].transpose(0, 2, 1)
    core, log_norm = _product(overlaps, bases.shape[1:2])
    return Chain(core, bases[-1], bases[0], log_norm)


def draw_chain(
    dim: int,
    n_samples: int,
    spikes: npt.ArrayLike,
    sigmas: npt.ArrayLike,
    size: int,
    *,
    rng: Rng = None,
) -> Chain:
    r"""Draw chains with fresh images and noise at each level, exactly and without any data.

    The signal coordinates of a basis come from :func:`lindiff.draws.draw_overlaps`; what is
    left of it points in a uniformly random direction, independent between levels, so that two
    neighbours meet there through an r × r corner of a random rotation. The cost hardly depends
    on d and N.

    Parameters
    ----------
    dim, n_samples : int
        Dimension d, at least 2r, and number N of samples per level, at least r.
    spikes : array_like, shape (r,)
        Variances of the data, descending.
    sigmas : array_like, shape (T,)
        Decreasing noise standard deviations, positive; at least two.
    size : int
        Number of independent chains.
    rng : numpy.random.Generator, int or None

    Returns
    -------
    Chain
        With a leading axis of length `size`, in coordinates of the r true directions.

    Examples
    --------
    >>> chain = draw_chain(10**6, 10**6, [4.0, 2.0], [1.0, 0.5], 10, rng=0)
    >>> chain.matrix().shape, chain.log_norm.shape
    ((10, 2, 2), (10,))
    """
    sigmas = _check.sigmas(sigmas)
    spikes = _check.eigenvalues("spikes", np.atleast_1d(spikes))
    r, size = spikes.size, _check.integer("size", size, 1)
    rng = _check.generator(rng)
    dim = _check.integer("dim", dim, 2 * r)
    signal = [draw_overlaps(dim, n_samples, spikes, s, size, rng=rng)[1] for s in sigmas.tolist()]
    rest = [_square_root(np.eye(r) - a @ np.swapaxes(a, -1, -2)) for a in signal]
    overlaps = [
        signal[t] @ np.swapaxes(signal[t - 1], -1, -2)
        + rest[t] @ _corner(dim - r, r, size, rng) @ rest[t - 1]
        for t in range(1, len(sigmas))
    ]
    core, log_norm = _product(overlaps, (size, r))
    return Chain(core, signal[-1], signal[0], log_norm)


def _product(
    overlaps: Iterable[np.ndarray], shape: tuple[int, ...]
) -> tuple[np.ndarray, np.ndarray]:
    """Multiply overlaps from the left, keeping the norm apart: core and log of the norm."""
    core = np.zeros((*shape, shape[-1])) + np.eye(shape[-1])
    log_norm = np.zeros(shape[:-1])
    for overlap in overlaps:
        core = overlap @ core
        norm = np.linalg.norm(core, ord=2, axis=(-2, -1))
        with np.errstate(divide="ignore"):
            log_norm = log_norm + np.log(norm)
        core = core / np.where(norm > 0, norm, 1.0)[..., None, None]
    return core, log_norm


def _square_root(matrix: np.ndarray) -> np.ndarray:
    """Symmetric square root of positive semi-definite matrices along the last two axes."""
    values, vectors = np.linalg.eigh(matrix)
    return (vectors * np.sqrt(np.maximum(values, 0.0))[..., None, :]) @ np.swapaxes(vectors, -1, -2)


def _corner(dim: int, r: int, size: int, rng: np.random.Generator) -> np.ndarray:
    """Leading r × r corners of random rotations of a space of dimension `dim` >= r."""
    corner = rng.standard_normal((size, r, r))
    rest = np.stack([wishart(r, dim - r, rng=rng) for _ in range(size)])
    factor = np.linalg.cholesky(corner @ np.swapaxes(corner, -1, -2) + rest)
    return np.linalg.solve(factor, corner)


def overlap_limit(
    spike: npt.ArrayLike,
    sigma: npt.ArrayLike,
    other: npt.ArrayLike,
    gamma: npt.ArrayLike,
    *,
    covariance: npt.ArrayLike,
) -> np.ndarray:
    r"""Limit of the overlap of two directions estimated from the same images at two noise levels.

    .. math:: \langle\hat u(\sigma),\hat u(\sigma')\rangle \to c(\sigma)\,c(\sigma')\,
              \frac{1+\gamma s^2/\lambda}{1-\gamma s^4/\lambda^2},\qquad s^2 = \mathrm{Cov}(
              \text{noise},\text{noise}'),

    with :math:`c^2` the :func:`~lindiff.spiked.alignment_limit` and both vectors turned towards
    the true one. For :math:`s^2\ge0` the fraction is :math:`1/c^2(s)`. Fresh noise has s = 0; the
    increments of one forward process :math:`s=\min(\sigma,\sigma')`; frozen noise
    :math:`s=\sqrt{\sigma\sigma'}`. Chapter 7 of the book has the proof.

    Parameters
    ----------
    spike : array_like
        Variance of the data along the direction, ``>= 0``.
    sigma, other : array_like
        Noise standard deviations, positive.
    gamma : array_like
        Aspect ratio d/N.
    covariance : array_like
        Covariance of the two noises in one pixel, at most ``sigma * other`` in size.

    Returns
    -------
    ndarray
        Zero if the direction is lost at one of the levels.

    Examples
    --------
    >>> overlap_limit(4.0, 1.0, 0.5, gamma=1.0, covariance=[0.0, 0.25]).round(4)
    array([0.8385, 0.8944])
    """
    product = alignment_limit(spike, sigma, gamma) * alignment_limit(spike, other, gamma)
    covariance = _check.real("covariance", covariance)
    most = np.multiply(sigma, other)
    if not np.all(np.abs(covariance) <= most * (1 + 1e-12)):
        raise ValueError(
            f"covariance is {_check.brief(covariance)}; expected at most {_check.brief(most)} in "
            "size, sigma * other"
        )
    spike, gamma, covariance, product = np.broadcast_arrays(spike, gamma, covariance, product)
    shared = np.divide(covariance, spike, out=np.zeros(product.shape), where=product > 0)
    return np.sqrt(product) * (1 + gamma * shared) / (1 - gamma * shared**2)


class ChainLimits(NamedTuple):
    """Limits for a projection chain, per spike.

    Attributes
    ----------
    singular_values : ndarray, shape (r,)
        Of the chain itself, not divided by its norm.
    diagonal : ndarray, shape (r,)
        Entries of the chain in the true eigenbasis.
    """

    singular_values: np.ndarray
    diagonal: np.ndarray


_SHARED = {
    "fresh": lambda high, low: np.zeros_like(low),
    "cumulative": lambda high, low: low**2,
    "frozen": lambda high, low: high * low,
}


def chain_limits(
    spikes: npt.ArrayLike, sigmas: npt.ArrayLike, gamma: float, *, noise: str = "fresh"
) -> ChainLimits:
    r"""Limits of the singular values and diagonal entries of a chain of estimated projections.

    The singular value that belongs to the i-th direction tends to the product :math:`m_i` of the
    neighbours' :func:`overlap_limit`, the diagonal entry to
    :math:`c_i(\sigma_1)\,m_i\,c_i(\sigma_T)`. With fresh noise the latter is
    :math:`\prod_tc_i^2(\sigma_t)`; with cumulative noise :math:`c_i^2(\sigma_T)`, on any grid;
    with frozen noise it tends to :math:`c_i(\sigma_1)c_i(\sigma_T)` as the grid is refined.

    Parameters
    ----------
    spikes : array_like, shape (r,)
        Distinct variances of the data, descending.
    sigmas : array_like, shape (T,)
        Decreasing noise standard deviations, positive; at least two.
    gamma : float
        Aspect ratio d/N.
    noise : {"fresh", "cumulative", "frozen"}
        As in :func:`lindiff.pca.noisy_pca`.

    Returns
    -------
    ChainLimits
        Both zero for a direction that is lost at some level: nothing carries it further.

    Examples
    --------
    >>> limits = chain_limits([4.0, 2.0], [1.0, 0.5], gamma=1.0)
    >>> limits.diagonal.round(4)  # .75 * .9375 and .5 * .875
    array([0.7031, 0.4375])
    """
    spikes = _check.eigenvalues("spikes", spikes)
    sigmas = _check.sigmas(sigmas)
    if noise not in _SHARED:
        raise ValueError(f"noise is {noise!r}; expected one of {', '.join(_SHARED)}")
    high, low = sigmas[:-1, None], sigmas[1:, None]
    steps = overlap_limit(spikes, high, low, gamma, covariance=_SHARED[noise](high, low))
    singular = steps.prod(axis=0)
    first, last = (alignment_limit(spikes, s, gamma) for s in (sigmas[0], sigmas[-1]))
    return ChainLimits(singular, np.sqrt(first * last) * singular)
