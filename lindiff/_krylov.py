"""Krylov spaces of symmetric operators on rows, and when such a space is large enough."""

import warnings
from collections.abc import Callable, Iterator
from typing import NamedTuple, TypeAlias

import numpy as np

OnRows: TypeAlias = Callable[[np.ndarray], np.ndarray]

_EPSILON = float(np.finfo(float).eps)
# How much of a projection may be asymmetric, and what to do where it is more.
SYMMETRIC = 1e-4, "expected a symmetric one, such as (J + J.T)/2"
# J.T J and (J + J.T)/2 are symmetric but for rounding, which is up to 4e-3 in an operation that
# bfloat16 does, 5e-4 in TF32: room for some ten of them. The residuals tell what is left.
ROUNDING = (
    5e-2,
    "it is symmetric by construction, so a backward pass inside the denoiser is wrong, or computes "
    "in too low a precision: make it float32",
)


class Plan(NamedTuple):
    """What to look for: k leading pairs, `block` vectors at a time, with at most `budget` products.

    `tol` is the largest residual over the largest value, `patience` that of :class:`Watch`.
    """

    dim: int
    k: int
    block: int
    tol: float
    budget: int
    rng: np.random.Generator
    patience: float = 0.0
    asymmetry: tuple[float, str] = SYMMETRIC


class Space(NamedTuple):
    """A Krylov space: rows ``mix @ basis`` are its leading Ritz vectors, ``mix @ images`` theirs.

    `noise` is the length of the rounding error of a product, `chain` the number of rows since the
    last random ones. Every row of `basis` has cost one product.
    """

    values: np.ndarray
    mix: np.ndarray
    basis: np.ndarray
    images: np.ndarray
    noise: float
    chain: int


def symmetric(h: np.ndarray, limit: float, advice: str) -> np.ndarray:
    """Return the symmetric part, or raise ValueError if there is more to the matrix."""
    gap, size = np.abs(h - h.T).max(), np.abs(h).max()
    if gap > limit * size:
        raise ValueError(
            f"the operator is asymmetric ({gap / size:.1e} of its size on the subspace); {advice}"
        )
    return (h + h.T) / 2


def spaces(apply: OnRows, plan: Plan) -> Iterator[Space]:
    """Grow a block Krylov space up to the budget, yielding each one with its leading pairs."""
    dim, k, rng = plan.dim, plan.k, plan.rng
    basis, images, projected = np.empty((0, dim)), np.empty((0, dim)), np.empty((0, 0))
    image, noise, chain = rng.standard_normal((plan.block, dim)), 0.0, 0
    while (room := min(dim, plan.budget) - len(basis)) > 0:
        fresh, closed = new_directions(image[:room], basis, noise, rng)
        chain = len(fresh) if closed else chain + len(fresh)
        image = apply(fresh)
        projected = np.block([[projected, basis @ image.T], [fresh @ images.T, fresh @ image.T]])
        basis, images = np.vstack([basis, fresh]), np.vstack([images, image])
        values, mix = np.linalg.eigh(symmetric(projected, *plan.asymmetry))
        noise = rounding_error(projected, float(max(values[-1], -values[0])), dim)
        yield Space(values[::-1][:k], mix[:, ::-1][:, :k].T, basis, images, noise, chain)


def rounding_error(projected: np.ndarray, size: float, dim: int) -> float:
    """Length of the error of a product, measured on a projection that should be symmetric.

    Each other row of the basis sees one component of it, as an asymmetry. `size` is the largest
    absolute value.
    """
    m, skew = len(projected), ((projected - projected.T) / (size or 1.0)).ravel()
    return size * max((skew @ skew * dim / 2 / max(1, m * (m - 1))) ** 0.5, _EPSILON)


def new_directions(
    v: np.ndarray, basis: np.ndarray, noise: float, rng: np.random.Generator
) -> tuple[np.ndarray, bool]:
    """Orthonormal rows that extend `basis` by the span of `v`, and whether that adds nothing.

    Where it adds no more than a rounding error of length `noise`, the rows are random. What looks
    like more can still be such errors, which earlier rows amplify by their own shortness.
    """
    size = np.linalg.norm(v, axis=1).max()
    for _ in range(2):  # twice is enough for orthogonality to rounding
        v = v - (v @ basis.T) @ basis
    q, r = np.linalg.qr(v.T)
    adds = np.abs(np.diag(r))
    keep = adds > max(1e-10 * size, 3 * noise)
    if keep.all():
        v = q.T
    else:
        v = np.vstack([q.T[keep], rng.standard_normal((int((~keep).sum()), basis.shape[1]))])
    for _ in range(1 if keep.all() else 2):  # once for rows that are nearly orthogonal
        v = v - (v @ basis.T) @ basis
        v = np.linalg.qr(v.T)[0].T
    return v, bool(adds.max() <= max(1e-10 * size, 100 * noise))


class Watch:
    """Tells when a Krylov space is large enough.

    A tolerance must hold over the last share `patience` of the rows: a start can pass a value over
    for a while, and settle on the next. With any patience it must also hold, after the space has
    closed and a random row has opened it again, for as long as it took to close: what a single
    start finds of a repeated value is one vector.

    Residuals that rounding keeps above the tolerance end the search as well. Krylov spaces pause
    before they converge, so that a pause counts only at the level of the rounding error.
    """

    def __init__(self, patience: float) -> None:
        self.patience, self.stalled = patience, False
        self._since: int | None = None
        self._chain = self._closed = 0
        self._past: list[tuple[int, float]] = []

    def done(self, space: Space, gaps: np.ndarray, enough: np.ndarray) -> bool:
        """Whether to stop at the residuals `gaps`, where `enough` are asked for."""
        if space.chain <= self._chain:
            self._closed = self._chain
        self._chain = space.chain
        size, worst = len(space.basis), float(gaps[gaps > enough].max(initial=0.0))
        # Linear convergence to 1e-6 in `size` rows is by a factor of 6 in the last eighth.
        before = [past for at, past in self._past if at <= 7 / 8 * size]
        self._past.append((size, worst))
        self.stalled = bool(before) and before[-1] / 2 < worst <= 10 * space.noise
        if worst > 0:
            self._since = None
            return self.stalled
        self._since = size if self._since is None else self._since
        settled = size - self._since >= self.patience * size
        return settled and (self.patience == 0 or space.chain >= self._closed)


def judge(worst: float, tol: float, rounding: bool) -> bool:
    """Whether a search has converged; warn at the line of the user if it should have."""
    if worst <= tol or tol == 0:
        return bool(worst <= tol or rounding)
    if rounding:
        advice = "the rounding of the products allows no less: compute in float64"
    else:
        advice = "max_products is spent: allow more"
    warnings.warn(
        f"residuals reach {worst:.1e} of the largest value, not tol={tol:g}; {advice}, "
        "or ask for less (tol=0 takes what there is)",
        RuntimeWarning,
        stacklevel=4,
    )
    return False
