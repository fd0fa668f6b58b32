r"""The one data structure of the linear theory: a Gaussian law in its eigenbasis.

.. math:: x \sim \mathcal N(\mu, \Sigma), \qquad \Sigma = \sum_{i=1}^r \lambda_i u_i u_i^\top,
          \qquad \lambda_1 \ge \dots \ge \lambda_r \ge 0 .

The **rows** of ``basis`` are the :math:`u_i`, so that a row reshapes to an image. The rank
:math:`r` may be smaller than the dimension :math:`d`, or zero.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import scipy.linalg

from lindiff import _check
from lindiff.subspaces import fixed_signs
from lindiff.types import Rng


@dataclass(frozen=True, eq=False)
class Gaussian:
    r"""Gaussian law given by mean, eigenvalues and eigenvectors.

    Parameters
    ----------
    mean : array_like, shape (d,)
    eigenvalues : array_like, shape (r,)
        Variances along the eigenvectors, descending and non-negative.
    basis : array_like, shape (r, d)
        Orthonormal rows.

    Examples
    --------
    >>> import numpy as np
    >>> g = Gaussian(mean=np.zeros(3), eigenvalues=[4.0, 1.0], basis=np.eye(3)[:2])
    >>> g.dim, g.rank
    (3, 2)
    >>> np.diag(g.covariance())
    array([4., 1., 0.])
    """

    mean: np.ndarray
    eigenvalues: np.ndarray
    basis: np.ndarray

    def __init__(
        self, mean: npt.ArrayLike, eigenvalues: npt.ArrayLike, basis: npt.ArrayLike
    ) -> None:
        mean = _check.array("mean", mean, 1)
        values = _check.eigenvalues("eigenvalues", eigenvalues)
        basis = _check.array("basis", basis, 2)
        _check.same_shape("basis", basis.shape, (values.size, mean.size))
        _check.orthonormal("basis", basis)
        for name, value in (("mean", mean), ("eigenvalues", values), ("basis", basis)):
            object.__setattr__(self, name, value.copy())  # a law does not change under its user

    def __repr__(self) -> str:
        return f"Gaussian(dim={self.dim}, rank={self.rank})"

    @property
    def dim(self) -> int:
        """Dimension d of the space."""
        return self.mean.size

    @property
    def rank(self) -> int:
        """Number r of eigenvectors held, those of eigenvalue zero included."""
        return self.eigenvalues.size

    @classmethod
    def fit(cls, x: npt.ArrayLike, rank: int | None = None) -> "Gaussian":
        r"""Maximum-likelihood Gaussian of the rows of `x`: their PCA.

        Parameters
        ----------
        x : array_like, shape (n, d)
            One sample per row.
        rank : int, optional
            Number of leading eigenvectors to keep, at most ``min(n, d)`` (the default).

        Returns
        -------
        Gaussian
            The covariance is normalised by n. The sign of each eigenvector is that of
            :func:`~lindiff.subspaces.fixed_signs`. Eigenvalues that are zero up to
            rounding, :math:`\max(d,10)` machine epsilons of the first, are zero: the others count
            the directions in which the data vary, at most n - 1.

        Examples
        --------
        >>> import numpy as np
        >>> Gaussian.fit([[1.0, 0.0], [-1.0, 0.0]]).eigenvalues
        array([1., 0.])
        """
        x = _check.array("x", x, 2)
        n, d = x.shape
        _check.integer("number of samples (rows of x)", n, 1)
        rank = min(n, d) if rank is None else _check.integer("rank", rank, 0, min(n, d))
        mean, centred = _check.centred(x)
        if rank == 0:
            return cls(mean, np.empty(0), np.empty((0, d)))
        # The d x d eigenproblem is smaller than the SVD of the data, or only its top is wanted.
        if n > d or (2 * n > d and 4 * rank < d):
            values, vectors = scipy.linalg.eigh(
                centred.T @ centred / n, subset_by_index=(d - rank, d - 1)
            )
            values, basis = values[::-1].clip(min=0), vectors[:, ::-1].T
        else:
            _, singular, basis = scipy.linalg.svd(centred, full_matrices=False)
            values, basis = singular[:rank] ** 2 / n, basis[:rank]
        # a few epsilons, in every dimension, is what eigh and svd make of a zero
        values = np.where(values > max(d, 10) * np.finfo(float).eps * values[0], values, 0.0)
        return cls(mean, values, fixed_signs(basis))

    def sample(self, n: int, *, rng: Rng = None) -> np.ndarray:
        r"""Draw `n` independent samples, shape (n, d).

        White noise times :math:`\Sigma^{1/2}`: a seeded draw depends on the covariance alone, not
        on the signs of the eigenvectors or on their order where eigenvalues are equal.
        """
        n = _check.integer("n", n, 1)
        white = _check.generator(rng).standard_normal((n, self.dim))
        return self.mean + _spectral_product(white, self.basis, np.sqrt(self.eigenvalues))

    def covariance(self) -> np.ndarray:
        """Return the covariance matrix, shape (d, d)."""
        return (self.basis.T * self.eigenvalues) @ self.basis


def _spectral_product(rows: Any, basis: Any, inside: Any, outside: float = 0.0) -> Any:
    r"""Multiply rows by the symmetric matrix with given eigenvectors and eigenvalues.

    Parameters
    ----------
    rows : array, shape (n, d)
        NumPy, or with `basis` and `inside` any other array type.
    basis : array, shape (r, d)
        Orthonormal rows.
    inside : array, shape (r,)
        Eigenvalue of each row of `basis`.
    outside : float
        Eigenvalue of everything orthogonal to `basis`.

    Returns
    -------
    array, shape (n, d)

    Examples
    --------
    >>> import numpy as np
    >>> _spectral_product(np.ones((1, 3)), np.eye(3)[:2], np.array([5.0, 2.0]), outside=0.5)
    array([[5. , 2. , 0.5]])
    """
    n, (rank, dim) = rows.shape[0], basis.shape
    if rank == dim:
        outside = 0.0  # there is nothing outside
    inside = inside - outside
    if dim * (n + rank) < 2 * n * rank:  # one product with the matrix is cheaper than two
        product = rows @ ((basis.T * inside) @ basis)
    else:
        product = ((rows @ basis.T) * inside) @ basis
    return product if outside == 0 else product + outside * rows


def _check_same_dim(a: Gaussian, b: Gaussian) -> None:
    for name, law in (("a", a), ("b", b)):
        _check.kind(name, law, Gaussian)
    if a.dim != b.dim:
        raise ValueError(f"the laws have dimensions {a.dim} and {b.dim}; expected equal ones")


def wasserstein2(a: Gaussian, b: Gaussian) -> float:
    r"""Wasserstein-2 distance between two Gaussian laws, exact at any rank.

    .. math:: W_2^2 = |\mu_a-\mu_b|^2 + \mathrm{tr}\,\Sigma_a + \mathrm{tr}\,\Sigma_b
              - 2\,\|\Sigma_a^{1/2}\Sigma_b^{1/2}\|_\ast

    [Dowson and Landau 1982]. With rows :math:`R^\top R=\Sigma` it is computed as the least
    :math:`\|R_a-TR_b\|_F` over orthogonal T, in which nothing cancels.

    Parameters
    ----------
    a, b : Gaussian
        Laws on the same space.

    Returns
    -------
    float
        The distance (not its square), in the units of the data.

    Examples
    --------
    >>> import numpy as np
    >>> a = Gaussian(np.zeros(2), [4.0, 1.0], np.eye(2))
    >>> b = Gaussian(np.array([3.0, 0.0]), [1.0, 1.0], np.eye(2))
    >>> round(wasserstein2(a, b) ** 2, 6)
    10.0
    """
    _check_same_dim(a, b)
    if np.array_equal(a.basis, b.basis):
        spread = ((np.sqrt(a.eigenvalues) - np.sqrt(b.eigenvalues)) ** 2).sum()
    else:
        small, big = sorted((a, b), key=lambda law: law.rank)
        rows, more = (np.sqrt(law.eigenvalues)[:, None] * law.basis for law in (small, big))
        left, _, right = np.linalg.svd(rows @ more.T, full_matrices=False)
        turned = right @ more  # as far as the smaller law goes
        # the differences themselves, not of squares that nearly cancel when the laws nearly agree
        spread = ((rows - left @ turned) ** 2).sum() + ((more - right.T @ turned) ** 2).sum()
    return float(np.sqrt(((a.mean - b.mean) ** 2).sum() + spread))


def kl_divergence(a: Gaussian, b: Gaussian) -> float:
    r"""Kullback-Leibler divergence :math:`\mathrm{KL}(a\|b)` in nats.

    It is infinite unless both laws live on the same affine subspace: a singular covariance
    against one of another rank has no density ratio.

    Parameters
    ----------
    a, b : Gaussian
        Laws on the same space.

    Returns
    -------
    float

    Examples
    --------
    >>> import numpy as np
    >>> unit = Gaussian(np.zeros(1), [1.0], np.eye(1))
    >>> round(kl_divergence(Gaussian(np.ones(1), [1.0], np.eye(1)), unit), 6)
    0.5
    >>> kl_divergence(Gaussian(np.zeros(1), [0.0], np.eye(1)), unit)
    inf
    """
    _check_same_dim(a, b)
    (values_a, basis_a), (values_b, basis_b) = _support(a), _support(b)
    shift = b.mean - a.mean
    inside = basis_b @ shift
    size = np.abs([a.mean, b.mean]).max(initial=0.0)
    scale = 1e-6 * max(np.sqrt(values_b.max(initial=0.0)), 1e-6 * size)
    if (
        values_a.size != values_b.size
        or np.abs(basis_a - (basis_a @ basis_b.T) @ basis_b).max(initial=0.0) > 1e-6
        or np.abs(shift - inside @ basis_b).max(initial=0.0) > scale
    ):
        return float("inf")
    trace = ((basis_b @ basis_a.T) ** 2 * values_a / values_b[:, None]).sum()
    logs = np.log(values_b).sum() - np.log(values_a).sum()
    return float(0.5 * (trace + (inside**2 / values_b).sum() - values_a.size + logs))


def _support(law: Gaussian) -> tuple[np.ndarray, np.ndarray]:
    """Eigenvalues and rows of the basis that are non-zero up to rounding."""
    floor = law.dim * np.finfo(float).eps * law.eigenvalues.max(initial=0.0)
    keep = law.eigenvalues > floor
    return law.eigenvalues[keep], law.basis[keep]
