r"""Power iteration and its relatives.

An *operator* is a symmetric matrix, a SciPy sparse array or ``LinearOperator``, or any callable
that maps rows ``(k, d)`` to rows ``(k, d)``, as a denoiser does.
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import scipy.sparse

from lindiff import _check, _krylov
from lindiff.subspaces import fixed_signs
from lindiff.types import Operator, Rng


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
        Norms of ``A v - value v`` over the largest absolute value found, the scale of `tol`: within
        this share of it there is an eigenvalue at each value.
    products : int
        Number of operator-vector products used.
    converged : bool
        Whether every residual is at most `tol`, or for a `tol` of 0 as small as rounding allows.
    """

    eigenvalues: np.ndarray
    eigenvectors: np.ndarray
    residuals: np.ndarray
    products: int
    converged: bool


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
        Norms of ``J.T left[i] - s[i] right[i]`` over ``s[0]``, the scale of `tol`: within this
        share of it there is a singular value at each ``s[i]``. In a cluster closer than that only
        the span of the vectors is determined.
    products : int
        Number of products with J or its transpose.
    converged : bool
        Whether every residual is at most `tol`, or for a `tol` of 0 as small as rounding allows.
    """

    singular_values: np.ndarray
    left: np.ndarray
    right: np.ndarray
    residuals: np.ndarray
    products: int
    converged: bool


def _on_rows(a: Operator, dim: int) -> _krylov.OnRows:
    """Turn an operator into a checked function on rows of length `dim`."""
    if not callable(a) and not hasattr(a, "matmat") and not scipy.sparse.issparse(a):
        a = _check.array("a", a, 2)
    shape = getattr(a, "shape", (dim, dim))
    _check.same_shape("operator a", shape, (dim, dim))
    product = a if not hasattr(a, "shape") else lambda v: (a @ v.T).T

    def apply(v: np.ndarray) -> np.ndarray:
        out = _check.real("result of the operator", product(v.copy()))  # it may work in place
        _check.same_shape("result of the operator", out.shape, v.shape)
        if not np.isfinite(out).all():
            raise ValueError("the operator returned a value that is not finite")
        return out

    return apply


def power_iteration(a: Operator, v: npt.ArrayLike) -> Iterator[RitzPair]:
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
    state = _check.array("v", v, 1)
    apply = _on_rows(a, state.size)
    while True:
        norm = np.linalg.norm(state)
        if norm == 0:
            raise ValueError("v is zero, at the start or because a maps it to zero; no direction")
        state = state / norm
        image = apply(state[None])[0]
        yield RitzPair(state @ image, state)
        state = image


def subspace_iteration(a: Operator, v: npt.ArrayLike) -> Iterator[RitzPairs]:
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

    Examples
    --------
    >>> from itertools import islice
    >>> state = list(islice(subspace_iteration(np.diag([3.0, 2.0, 1.0]), np.eye(3)[:2]), 2))[-1]
    >>> state.values
    array([3., 2.])
    """
    rows = _check.array("v", v, 2)
    _check.integer("number of rows of v", rows.shape[0], 1, rows.shape[1])
    apply = _on_rows(a, rows.shape[1])
    while True:
        q, r = np.linalg.qr(rows.T)
        pivots = np.abs(np.diag(r))
        if pivots.min() <= np.finfo(float).eps * rows.shape[1] * pivots.max():
            raise ValueError(
                "the rows of v are linearly dependent, at the start or after a product"
            )
        image = apply(q.T)
        values, mix = np.linalg.eigh(_krylov.symmetric(q.T @ image.T, *_krylov.SYMMETRIC))
        values, mix = values[::-1], mix[:, ::-1].T
        yield RitzPairs(values, fixed_signs(mix @ q.T))
        rows = mix @ image


def krylov(
    a: Operator,
    k: int,
    *,
    dim: int | None = None,
    block: int = 1,
    tol: float = 1e-8,
    max_products: int | None = None,
    rng: Rng = None,
) -> Eigenpairs:
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
        Stop when all k residuals, relative to the largest absolute value, are at most this. A
        RuntimeWarning tells when the budget or rounding does not allow it. With 0 the residuals
        get as small as the budget and rounding allow, and nothing warns.
    max_products : int, optional
        Budget, by default enough for the whole space.
    rng : numpy.random.Generator, int or None
        For the starting block.

    Returns
    -------
    Eigenpairs

    Examples
    --------
    >>> pairs = krylov(np.diag([3.0, 2.0, 1.0, 0.0]), 2, rng=0)
    >>> pairs.eigenvalues.round(6), pairs.products, pairs.converged
    (array([3., 2.]), 4, True)
    """
    if dim is None:
        if not hasattr(a, "shape") and callable(a):
            raise ValueError("dim is None; expected the dimension d, since a is a callable")
        if len(np.shape(a)) != 2:
            raise ValueError(f"a has shape {np.shape(a)}; expected a square matrix")
        dim = np.shape(a)[-1]
    k = _check.integer("k", k, 1, dim)
    plan = _krylov.Plan(
        dim,
        k,
        _check.integer("block", block, 1, dim),
        _check.number("tol", tol, 0.0),
        dim if max_products is None else _check.integer("max_products", max_products, k),
        _check.generator(rng),
    )
    return _eigenpairs(_on_rows(a, dim), plan)


def _eigenpairs(apply: _krylov.OnRows, plan: _krylov.Plan) -> Eigenpairs:
    """As :func:`krylov`, of arguments that are checked."""
    watch, tol = _krylov.Watch(plan.patience), plan.tol
    for space in _krylov.spaces(apply, plan):
        values, vectors = space.values, space.mix @ space.basis
        gaps = np.linalg.norm(space.mix @ space.images - values[:, None] * vectors, axis=1)
        top = np.abs(values).max()
        if len(values) == plan.k and watch.done(space, gaps, np.full(plan.k, tol * top)):
            break
    residuals, size = gaps / (top or 1.0), len(space.basis)
    converged = _krylov.judge(float(residuals.max()), tol, watch.stalled or size == plan.dim)
    return Eigenpairs(values, fixed_signs(vectors), residuals, size, converged)


def _singular_triplets(
    jv: _krylov.OnRows, vj: _krylov.OnRows, plan: _krylov.Plan
) -> SingularTriplets:
    """Leading singular triplets by block Krylov on J.T J, of which the budget counts products."""
    images_left = []

    def gram(rows: np.ndarray) -> np.ndarray:
        images_left.append(jv(rows))
        return vj(images_left[-1])

    watch, tol = _krylov.Watch(plan.patience), plan.tol
    for space in _krylov.spaces(gram, plan):
        square, mix = space.values, space.mix
        values = np.sqrt(np.maximum(square, 0))
        gaps = np.linalg.norm(mix @ space.images - square[:, None] * (mix @ space.basis), axis=1)
        # |J.T left - value right| is gap / value
        if len(mix) == plan.k and watch.done(space, gaps, tol * values[0] * values):
            break
    # J maps the Ritz vectors to orthogonal rows; their SVD is accurate where squares are not.
    turn, values, left = np.linalg.svd(mix @ np.vstack(images_left), full_matrices=False)
    mix, size = turn.T @ mix, len(space.basis)
    right, pulled = mix @ space.basis, mix @ space.images
    # nor do squares tell the residuals of small values
    tiny = values * max(tol * values[0], 10 * space.noise / (values[0] or 1.0)) <= space.noise
    pulled[~tiny] /= values[~tiny, None]
    if tiny.any():
        pulled[tiny] = vj(left[tiny])
    residuals = np.linalg.norm(pulled - values[:, None] * right, axis=1) / (values[0] or 1.0)
    turned = fixed_signs(right)
    signs = np.where((turned * right).sum(axis=1, keepdims=True) < 0, -1.0, 1.0)
    products = 2 * size + int(tiny.sum())
    converged = _krylov.judge(float(residuals.max()), tol, watch.stalled or size == plan.dim)
    return SingularTriplets(values, signs * left, turned, residuals, products, converged)
