r"""Power iteration and its relatives, and the clock that compares a denoiser with it.

An *operator* is a symmetric matrix, a SciPy sparse array or ``LinearOperator``, or any callable
that maps rows ``(k, d)`` to rows ``(k, d)``, as a denoiser does.
"""

from typing import NamedTuple

import numpy as np
import scipy.sparse

from lindiff import _check
from lindiff.subspaces import fixed_signs


class RitzPair(NamedTuple):
    """A state of power iteration: Rayleigh quotient and unit vector (d,)."""

    value: np.ndarray
    vector: np.ndarray


class RitzPairs(NamedTuple):
    """A state of subspace iteration: Ritz values (k,), descending, and orthonormal rows (k, d)."""

    values: np.ndarray
    vectors: np.ndarray


class Eigenpairs(NamedTuple):
    """Leading eigenpairs with their certificate.

    Attributes
    ----------
    eigenvalues : ndarray, shape (k,)
        Descending.
    eigenvectors : ndarray, shape (k, d)
        Orthonormal rows, with the signs of :func:`~lindiff.subspaces.fixed_signs`.
    residuals : ndarray, shape (k,)
        Norms of ``A v - value v``: an eigenvalue lies within this distance of each value.
    products : int
        Number of operator-vector products used.
    """

    eigenvalues: np.ndarray
    eigenvectors: np.ndarray
    residuals: np.ndarray
    products: int


class SingularTriplets(NamedTuple):
    """Leading singular values and vectors with their certificate, float64 NumPy arrays.

    Attributes
    ----------
    singular_values : ndarray, shape (k,)
        Descending.
    left, right : ndarray, shape (k, d)
        Orthonormal rows, each the size of the flattened image, with ``J right[i] = s[i] left[i]``
        for the singular values s.
    residuals : ndarray, shape (k,)
        Norms of ``J.T left[i] - s[i] right[i]``: a singular value lies within this distance of each
        ``s[i]``. In a cluster closer than that only the span of the vectors is determined.
    products : int
        Number of products with J or its transpose.
    """

    singular_values: np.ndarray
    left: np.ndarray
    right: np.ndarray
    residuals: np.ndarray
    products: int


def _on_rows(a, dim):
    """Turn an operator into a checked function on rows of length `dim`."""
    if not callable(a) and not hasattr(a, "matmat") and not scipy.sparse.issparse(a):
        a = _check.array("a", a, 2)
    shape = getattr(a, "shape", (dim, dim))
    _check.same_shape("operator a", shape, (dim, dim))
    product = a if not hasattr(a, "shape") else lambda v: (a @ v.T).T

    def apply(v):
        out = np.asarray(product(v))
        _check.same_shape("result of the operator", out.shape, v.shape)
        if not np.isfinite(out).all():
            raise ValueError("the operator returned a value that is not finite")
        return out

    return apply


def power_iteration(a, v):
    r"""Iterate :math:`v \leftarrow Av/|Av|` for ever, yielding every state.

    For symmetric `a` the angle to the leading eigenvector shrinks by
    :math:`|\lambda_2/\lambda_1|` a step, the error of the Rayleigh quotient by its square.

    Parameters
    ----------
    a : operator
        Array, LinearOperator or callable on rows.
    v : array_like, shape (d,)
        Start, not zero.

    Yields
    ------
    RitzPair
        Rayleigh quotient and unit vector, the start first.

    Raises
    ------
    ValueError
        If `v` is zero, a shape does not fit, or the iteration reaches the zero vector.

    Examples
    --------
    >>> from itertools import islice
    >>> states = islice(power_iteration(np.diag([2.0, 1.0]), [1.0, 1.0]), 4)
    >>> [round(float(s.value), 4) for s in states]
    [1.5, 1.8, 1.9412, 1.9846]
    """
    v = _check.array("v", v, 1)
    apply = _on_rows(a, v.size)
    while True:
        norm = np.linalg.norm(v)
        if norm == 0:
            raise ValueError("v is zero, at the start or because a maps it to zero; no direction")
        v = v / norm
        image = apply(v[None])[0]
        yield RitzPair(v @ image, v)
        v = image


def subspace_iteration(a, v):
    r"""Block power iteration with Rayleigh-Ritz, for ever, yielding every state.

    The angle of the leading-j subspace shrinks by :math:`|\lambda_{k+1}/\lambda_j|` a step.

    Parameters
    ----------
    a : operator
        Array, LinearOperator or callable on rows.
    v : array_like, shape (k, d)
        Start: linearly independent rows, ``k <= d``.

    Yields
    ------
    RitzPairs
        Ritz values (k,), descending, and orthonormal rows (k, d).

    Raises
    ------
    ValueError
        If the rows are dependent, at the start or after a product, or a shape does not fit.

    Examples
    --------
    >>> from itertools import islice
    >>> state = list(islice(subspace_iteration(np.diag([3.0, 2.0, 1.0]), np.eye(3)[:2]), 2))[-1]
    >>> state.values
    array([3., 2.])
    """
    v = _check.array("v", v, 2)
    _check.integer("number of rows of v", v.shape[0], 1, v.shape[1])
    apply = _on_rows(a, v.shape[1])
    while True:
        q, r = np.linalg.qr(v.T)
        pivots = np.abs(np.diag(r))
        if pivots.min() <= np.finfo(float).eps * v.shape[1] * pivots.max():
            raise ValueError(
                "the rows of v are linearly dependent, at the start or after a product"
            )
        image = apply(q.T)
        values, mix = np.linalg.eigh(_symmetric(q.T @ image.T))
        values, mix = values[::-1], mix[:, ::-1].T
        yield RitzPairs(values, fixed_signs(mix @ q.T))
        v = mix @ image


def _symmetric(h, limit=1e-4, advice="expected a symmetric one, such as (J + J.T)/2"):
    """Return the symmetric part, or raise ValueError if there is more to the matrix."""
    gap, size = np.abs(h - h.T).max(), np.abs(h).max()
    if gap > limit * size:
        raise ValueError(
            f"the operator is asymmetric ({gap / size:.1e} of its size on the subspace); {advice}"
        )
    return (h + h.T) / 2


def krylov(a, k, *, dim=None, block=1, tol=1e-8, max_products=None, rng=None):
    r"""Leading eigenpairs of a symmetric operator by block Lanczos with full reorthogonalisation.

    Every product is kept, so the subspace after m products is
    :math:`\mathrm{span}\{V, AV, A^2V, \dots\}` and the error falls with the *root* of the gap,
    where power iteration falls with the gap itself [Golub and Van Loan, ch. 10].

    Parameters
    ----------
    a : operator
        Array, LinearOperator or callable on rows.
    k : int
        Number of eigenpairs.
    dim : int, optional
        Dimension d; needed for a callable only.
    block : int
        Number of vectors multiplied at a time; at least the multiplicity of the eigenvalues.
    tol : float
        Stop when all k residuals are below ``tol`` times the largest absolute Ritz value.
    max_products : int, optional
        Budget, by default enough for the whole space. The residuals tell what it reached.
    rng : numpy.random.Generator, int or None
        For the starting block.

    Returns
    -------
    Eigenpairs

    Raises
    ------
    ValueError
        If `k` or `block` does not fit the dimension, a callable comes without `dim`, the
        operator is asymmetric or returns a wrong shape.

    Examples
    --------
    >>> pairs = krylov(np.diag([3.0, 2.0, 1.0, 0.0]), 2, rng=0)
    >>> pairs.eigenvalues.round(6), pairs.products
    (array([3., 2.]), 4)
    """
    if dim is None:
        if not hasattr(a, "shape") and callable(a):
            raise ValueError("dim is None; expected the dimension d, since a is a callable")
        if len(np.shape(a)) != 2:
            raise ValueError(f"a has shape {np.shape(a)}; expected a square matrix")
        dim = np.shape(a)[-1]
    tol, rng = _check.number("tol", tol, 0.0), _check.generator(rng)
    k = _check.integer("k", k, 1, dim)
    block = _check.integer("block", block, 1, dim)
    budget = dim if max_products is None else _check.integer("max_products", max_products, k)
    return _eigenpairs(_on_rows(a, dim), k, dim, block, tol, budget, rng)


def _eigenpairs(apply, k, dim, block, tol, budget, rng, *rounding):
    """As :func:`krylov`, of arguments that are checked; `rounding` as for `_symmetric`."""
    for values, mix, basis, images in _krylov_spaces(apply, k, dim, block, budget, rng, *rounding):
        residuals = np.linalg.norm(mix @ images - values[:, None] * (mix @ basis), axis=1)
        if len(values) == k and residuals.max() <= tol * np.abs(values).max():
            break
    return Eigenpairs(values, fixed_signs(mix @ basis), residuals, len(basis))


def _krylov_spaces(apply, k, dim, block, budget, rng, *rounding):
    """Grow a block Krylov space up to `budget` rows, yielding its leading Ritz pairs.

    Each state is (values, mix, basis, images): the rows ``mix @ basis`` are the Ritz vectors,
    ``mix @ images`` their images. Every row of `basis` has cost one product.
    """
    basis, images, projected = np.empty((0, dim)), np.empty((0, dim)), np.empty((0, 0))
    image = rng.standard_normal((block, dim))
    while len(basis) < min(dim, budget):
        fresh = _new_directions(image[: budget - len(basis)], basis, rng)
        image = apply(fresh)
        projected = np.block([[projected, basis @ image.T], [fresh @ images.T, fresh @ image.T]])
        basis, images = np.vstack([basis, fresh]), np.vstack([images, image])
        values, mix = np.linalg.eigh(_symmetric(projected, *rounding))
        yield values[::-1][:k], mix[:, ::-1][:, :k].T, basis, images


def _new_directions(v, basis, rng):
    """Orthonormal rows that extend `basis` by the span of `v`; random ones where `v` adds none."""
    room = basis.shape[1] - len(basis)
    v = v[:room]
    size = np.linalg.norm(v, axis=1).max()
    for _ in range(2):  # twice is enough for orthogonality to rounding
        v = v - (v @ basis.T) @ basis
    q, r = np.linalg.qr(v.T)
    keep = np.abs(np.diag(r)) > 1e-10 * size
    if keep.all():
        v = q.T
    else:
        v = np.vstack([q.T[keep], rng.standard_normal((int((~keep).sum()), basis.shape[1]))])
    for _ in range(2):
        v = v - (v @ basis.T) @ basis
        v = np.linalg.qr(v.T)[0].T
    return v


# J.T J and (J + J.T)/2 are symmetric but for rounding, which is up to 4e-3 in an operation that
# bfloat16 does, 5e-4 in TF32: room for some ten of them. The residuals tell what is left.
_ROUNDING = (
    5e-2,
    "it is symmetric by construction, so a backward pass inside the denoiser is wrong, or computes "
    "in too low a precision: make it float32",
)


def _singular_triplets(jv, vj, dim, k, *, block, tol, floor, budget, rng):
    """Leading singular triplets by block Krylov on J.T J.

    `jv` and `vj` map rows (n, d) to rows; `floor` is the rounding of a product, relative to the
    largest value; `budget` counts pairs of products.
    """
    images_left = []

    def gram(rows):
        images_left.append(jv(rows))
        return vj(images_left[-1])

    for square, mix, basis, images in _krylov_spaces(gram, k, dim, block, budget, rng, *_ROUNDING):
        values = np.sqrt(np.maximum(square, 0))
        gaps = np.linalg.norm(mix @ images - square[:, None] * (mix @ basis), axis=1)
        # |J.T left - value right| is gap / value; squares do not resolve values near the floor
        enough = values[0] * np.maximum(tol * values, floor * values[0])
        if len(mix) == k and (gaps <= enough).all():
            break
    # J maps the Ritz vectors to orthogonal rows; their SVD is accurate where squares are not.
    turn, values, left = np.linalg.svd(mix @ np.vstack(images_left), full_matrices=False)
    mix, products = turn.T @ mix, 2 * len(basis)
    right, pulled = mix @ basis, mix @ images
    tiny = tol * values <= floor * values[0]
    pulled[~tiny] /= values[~tiny, None]
    if tiny.any():
        pulled[tiny] = vj(left[tiny])
        products += int(tiny.sum())
    residuals = np.linalg.norm(pulled - values[:, None] * right, axis=1)
    turned = fixed_signs(right)
    signs = np.where((turned * right).sum(axis=1, keepdims=True) < 0, -1.0, 1.0)
    return SingularTriplets(values, signs * left, turned, residuals, products)
