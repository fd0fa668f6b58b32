"""How well do directions agree? Squared cosines for vectors, principal angles for subspaces.

Vectors are rows, as in :mod:`lindiff.gaussian`. An eigenvector has no sign and, inside a
repeated eigenvalue, no identity: compare squared cosines, and subspaces rather than vectors.
"""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import scipy.linalg

from lindiff import _check


def alignment(u: npt.ArrayLike, v: npt.ArrayLike) -> np.ndarray:
    r"""Squared cosine :math:`\langle u, v\rangle^2 / (|u|^2 |v|^2)` of vectors along the last axis.

    Parameters
    ----------
    u, v : array_like, shape (..., d)
        Leading axes broadcast.

    Returns
    -------
    ndarray, shape (...)
        Between 0 and 1.

    Examples
    --------
    >>> alignment([[3.0, 0.0], [0.0, 2.0]], [1.0, 1.0]).round(12)
    array([0.5, 0.5])
    """
    u, v = _check.real("u", u), _check.real("v", v)
    if u.ndim == 0 or v.ndim == 0 or u.shape[-1] != v.shape[-1]:
        raise ValueError(f"u and v have shapes {u.shape} and {v.shape}; expected equal last axes")
    size = (u**2).sum(-1) * (v**2).sum(-1)
    if not (np.isfinite(size).all() and (size > 0).all()):
        raise ValueError(f"|u|^2 |v|^2 is {_check.brief(size)}; expected finite, non-zero vectors")
    return np.minimum((u * v).sum(-1) ** 2 / size, 1.0)


def principal_angles(u: npt.ArrayLike, v: npt.ArrayLike) -> np.ndarray:
    """Principal angles between the row spaces of two matrices, from smallest to largest.

    Parameters
    ----------
    u, v : array_like, shape (k, d) and (m, d)
        Linearly independent rows, not necessarily orthonormal.

    Returns
    -------
    ndarray, shape (min(k, m),)
        Angles in radians, ascending [Björck and Golub 1973; computed by SciPy].

    Examples
    --------
    >>> np.degrees(principal_angles([[1.0, 0, 0]], [[1.0, 1.0, 0]])).round(6)
    array([45.])
    """
    u, v = _check.array("u", u, 2), _check.array("v", v, 2)
    if u.shape[1] != v.shape[1]:
        raise ValueError(f"u and v have shapes {u.shape} and {v.shape}; expected equal last axes")
    for name, rows in (("u", u), ("v", v)):
        rank = np.linalg.matrix_rank(rows) if rows.size else 0
        if rank < len(rows):
            raise ValueError(
                f"{name} has {len(rows)} rows of rank {rank}; expected independent ones"
            )
    return scipy.linalg.subspace_angles(u.T, v.T)[::-1]


def align_signs(v: npt.ArrayLike, reference: npt.ArrayLike) -> np.ndarray:
    """Flip the rows of `v` so that each has a non-negative product with its row of `reference`.

    Parameters
    ----------
    v, reference : array_like, shape (k, d)

    Returns
    -------
    ndarray, shape (k, d)

    Examples
    --------
    >>> align_signs([[-1.0, 0.0]], [[2.0, 1.0]])
    array([[1., 0.]])
    """
    v, reference = _check.array("v", v, 2), _check.array("reference", reference, 2)
    _check.same_shape("reference", reference.shape, v.shape)
    flip = (v * reference).sum(axis=1, keepdims=True) < 0
    return np.where(flip, 0.0 - v, v)


def fixed_signs(v: npt.ArrayLike) -> np.ndarray:
    """Flip each row so that its largest entry is positive, the first one of a tie.

    An eigenvector has no sign, and a library may return either. Entries that agree with the
    largest to one part in a million count as a tie: in the eigenvectors of mirrored images the two
    largest are opposite and equal, and rounding must not choose between them.

    Parameters
    ----------
    v : array_like, shape (k, d)

    Returns
    -------
    ndarray, shape (k, d)

    Examples
    --------
    >>> fixed_signs([[1.0, -3.0], [-2.0, 2.0 + 1e-9]])
    array([[-1.,  3.],
           [ 2., -2.]])
    """
    v = _check.array("v", v, 2)
    if v.size == 0:
        return v
    size = np.abs(v)
    first = (size >= (1 - 1e-6) * size.max(axis=1, keepdims=True)).argmax(axis=1)
    flip = v[np.arange(len(v)), first] < 0
    return np.where(flip[:, None], 0.0 - v, v)


class Overlaps(NamedTuple):
    """Agreement of leading directions with references, one by one and as spaces.

    Attributes
    ----------
    vector : ndarray, shape (..., k)
        Squared cosine of direction i and reference i; for random ones 1/d on average.
    subspace : ndarray, shape (..., k)
        Mean squared cosine of the principal angles between the spaces of the i leading ones, for
        i = 1, ..., k; for random spaces i/d on average.
    """

    vector: np.ndarray
    subspace: np.ndarray


def overlaps(vectors: npt.ArrayLike, reference: npt.ArrayLike) -> Overlaps:
    """Agreement of leading directions with references, per vector and per subspace.

    Eigenvectors of close eigenvalues turn into each other at the slightest change, while the space
    that they span stays: look at both.

    Parameters
    ----------
    vectors : array_like, shape (..., k, d)
        Orthonormal rows, such as ``Trajectory.eigenvectors``.
    reference : array_like, shape (k, d) or (..., k, d)
        Orthonormal rows.

    Returns
    -------
    Overlaps

    Examples
    --------
    >>> overlaps(np.eye(3)[:2], np.eye(3)[[1, 0]])
    Overlaps(vector=array([0., 0.]), subspace=array([0., 1.]))
    """
    vectors, reference = _check.real("vectors", vectors), _check.real("reference", reference)
    if vectors.ndim < 2 or reference.ndim < 2:
        raise ValueError(
            f"vectors and reference have shapes {vectors.shape} and {reference.shape}; "
            "expected (..., k, d)"
        )
    _check.same_shape("reference", reference.shape[-2:], vectors.shape[-2:])
    _check.orthonormal("vectors", vectors)
    _check.orthonormal("reference", reference)
    squares = (vectors @ reference.swapaxes(-1, -2)) ** 2
    sums = np.diagonal(squares.cumsum(axis=-1).cumsum(axis=-2), axis1=-2, axis2=-1)
    diagonal = np.diagonal(squares, axis1=-2, axis2=-1)
    return Overlaps(diagonal.copy(), sums / np.arange(1, sums.shape[-1] + 1))
