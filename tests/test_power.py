"""Power iteration, its relatives, and the clock."""

import re
from contextlib import nullcontext
from itertools import islice

import numpy as np
import pytest
import scipy.sparse
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.sparse.linalg import aslinearoperator

from lindiff.clocks import clock
from lindiff.denoisers import LinearDenoiser, wiener
from lindiff.gaussian import Gaussian
from lindiff.laws import law
from lindiff.power import krylov, power_iteration, subspace_iteration
from lindiff.samplers import ddpm
from lindiff.schedules import geometric
from lindiff.subspaces import principal_angles

FORMS = {
    "array": lambda a: a,
    "operator": aslinearoperator,
    "callable": lambda a: lambda rows: rows @ a.T,
    "nested lists": lambda a: a.tolist(),
    "tensor": torch.from_numpy,
}


def symmetric(values, seed=0):
    """A symmetric matrix with the given eigenvalues, and its eigenvectors as rows."""
    rows = np.linalg.qr(np.random.default_rng(seed).standard_normal((len(values),) * 2))[0]
    return rows.T * values @ rows, rows


def steps(iteration, n):
    """The first n + 1 states."""
    return list(islice(iteration, n + 1))


# ---------------------------------------------------------------- power iteration


@pytest.mark.parametrize("second", [0.3, 0.6, 0.9, -0.9])
def test_the_angle_falls_at_the_rate_of_the_gap_and_the_quotient_at_its_square(rng, second):
    a, rows = symmetric([1.0, second, 0.02, 0.01])
    # late enough for the asymptotic rate, early enough for an error (1e-6) far from rounding
    n = round(np.log(1e-6) / np.log(second**2))
    angles, errors = [], []
    for state in steps(power_iteration(a, rng.standard_normal(4)), n):
        along = rows[0] @ state.vector
        angles.append(np.linalg.norm(state.vector - along * rows[0]) / abs(along))
        errors.append(1 - state.value)
    assert angles[-1] / angles[-2] == pytest.approx(abs(second), rel=1e-4)
    assert errors[-1] / errors[-2] == pytest.approx(second**2, rel=1e-4)


def test_the_tangent_never_falls_slower_than_the_gap(rng):
    a, rows = symmetric([3.0, 2.5, 1.0, 0.5])
    along = [rows @ s.vector for s in steps(power_iteration(a, rng.standard_normal(4)), 30)]
    tangent = np.array([np.linalg.norm(c[1:]) / abs(c[0]) for c in along])
    assert (tangent[1:] <= tangent[:-1] * 2.5 / 3 * (1 + 1e-9)).all()


def test_every_state_is_a_unit_vector_with_its_rayleigh_quotient(rng):
    a, _ = symmetric([3.0, 1.0, -2.0])
    start = rng.standard_normal(3)
    states = steps(power_iteration(a, start), 5)
    np.testing.assert_allclose(states[0].vector, start / np.linalg.norm(start))
    for k, state in enumerate(states):
        exact = np.linalg.matrix_power(a, k) @ start
        np.testing.assert_allclose(state.vector, exact / np.linalg.norm(exact), atol=1e-12)
        assert state.value == pytest.approx(state.vector @ a @ state.vector)


@pytest.mark.parametrize("form", FORMS)
def test_power_iteration_takes_every_form_of_an_operator(form):
    a, rows = symmetric([3.0, 1.0, 0.5])
    last = steps(power_iteration(FORMS[form](a), [1.0, 1.0, 1.0]), 60)[-1]
    assert last.value == pytest.approx(3)
    assert abs(last.vector @ rows[0]) == pytest.approx(1)


@pytest.mark.parametrize("scale", [1e-150, 1e150])
def test_power_iteration_neither_overflows_nor_dies_out(scale):
    a, _ = symmetric([3.0, 1.0])
    last = steps(power_iteration(scale * a, [1.0, 1.0]), 40)[-1]
    assert last.value == pytest.approx(3 * scale, rel=1e-9)


# ---------------------------------------------------------------- subspace iteration


def test_the_subspace_falls_at_the_rate_of_its_own_gap(rng):
    a, rows = symmetric([5.0, 4.0, 3.0, 1.5, 0.5, 0.2])
    block, leading = [], []
    for state in steps(subspace_iteration(a, rng.standard_normal((3, 6))), 16):
        block.append(np.sin(principal_angles(state.vectors, rows[:3])[-1]))
        leading.append(np.sin(principal_angles(state.vectors[:1], rows[:1])[0]))
    block, leading = np.array(block), np.array(leading)
    np.testing.assert_allclose(block[12:15] / block[11:14], 1.5 / 3, rtol=1e-2)
    # with Rayleigh-Ritz the first vector gains from the whole block: 1.5/5 and not 4/5
    np.testing.assert_allclose(leading[10:12] / leading[9:11], 1.5 / 5, rtol=5e-2)


@pytest.mark.parametrize("form", FORMS)
def test_subspace_iteration_yields_ritz_pairs(rng, form):
    a, _ = symmetric([5.0, 4.0, -3.0, 1.0])
    for state in steps(subspace_iteration(FORMS[form](a), rng.standard_normal((2, 4))), 4):
        np.testing.assert_allclose(state.vectors @ state.vectors.T, np.eye(2), atol=1e-12)
        np.testing.assert_allclose(
            state.vectors @ a @ state.vectors.T, np.diag(state.values), atol=1e-12
        )
        assert (np.diff(state.values) <= 0).all()


def test_a_block_as_large_as_the_space_is_exact_at_once(rng):
    a, _ = symmetric([5.0, 2.0, 2.0, -1.0])
    state = next(subspace_iteration(a, rng.standard_normal((4, 4))))
    np.testing.assert_allclose(state.values, [5, 2, 2, -1], atol=1e-12)


# ---------------------------------------------------------------- Krylov

SPECTRA = {
    "generic": ([9.0, 7.0, 5.0, 2.0, 1.0, 0.5, 0.1, 0.0], 1),
    "indefinite": ([3.0, 2.0, 1.0, 0.0, -1.0, -2.0, -4.0, -9.0], 1),
    "repeated": ([4.0, 4.0, 4.0, 2.0, 2.0, 1.0, 1.0, 1.0], 3),
    "low rank": ([5.0, 3.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0], 6),
    "identity": ([1.0] * 8, 8),
    "zero": ([0.0] * 8, 1),
    "clustered": ([1.0 + 1e-9, 1.0, 0.5, 0.4, 0.3, 0.2, 0.1, 0.0], 2),
    "tiny": ([2e-150, 1e-150, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0], 6),
}


@pytest.mark.parametrize("k", [1, 2, 4, 8])
@pytest.mark.parametrize("name", SPECTRA)
def test_krylov_finds_the_eigenpairs_of_numpy(rng, name, k):
    values, block = SPECTRA[name]
    a, _ = symmetric(values)
    pairs = krylov(a, k, block=block, tol=1e-10, rng=rng)
    scale = max(np.abs(values))
    expected = np.linalg.eigvalsh(a)[::-1][:k]
    np.testing.assert_allclose(pairs.eigenvalues, expected, atol=1e-9 * scale)
    np.testing.assert_allclose(pairs.eigenvectors @ pairs.eigenvectors.T, np.eye(k), atol=1e-12)
    np.testing.assert_allclose(
        pairs.eigenvectors @ a, pairs.eigenvalues[:, None] * pairs.eigenvectors, atol=1e-8 * scale
    )


@pytest.mark.parametrize("block", [2, 3, 6])
def test_krylov_spans_the_eigenspace_of_a_repeated_eigenvalue(rng, block):
    a, rows = symmetric([4.0, 4.0, 2.0, 1.0, 0.5, 0.2])
    pairs = krylov(a, 2, block=block, rng=rng)
    np.testing.assert_allclose(principal_angles(pairs.eigenvectors, rows[:2]), 0, atol=1e-6)


@pytest.mark.parametrize("form", FORMS)
def test_krylov_takes_every_form_of_an_operator(rng, form):
    a, _ = symmetric([5.0, 3.0, 1.0, 0.5])
    pairs = krylov(FORMS[form](a), 2, dim=4, rng=rng)
    np.testing.assert_allclose(pairs.eigenvalues, [5, 3])


def test_krylov_reads_principal_components_off_a_denoiser(random_law, rng):
    model = random_law([5.0, 3.0, 1.0, 0.2])
    denoiser = LinearDenoiser(Gaussian(np.zeros(4), model.eigenvalues, model.basis))
    pairs = krylov(lambda rows: denoiser(rows, 1.5), 3, dim=4, rng=rng)
    np.testing.assert_allclose(pairs.eigenvalues, wiener(model.eigenvalues, 1.5)[:3])
    np.testing.assert_allclose(np.abs(np.diag(pairs.eigenvectors @ model.basis[:3].T)), 1)


@pytest.mark.parametrize("budget", [3, 4, 5, 7, 12, 40])
@pytest.mark.parametrize("block", [1, 2, 4])
def test_krylov_counts_its_products_and_keeps_to_the_budget(rng, budget, block):
    a, used = symmetric(np.linspace(1, 2, 30))[0], []

    def operator(rows):
        used.append(len(rows))
        return rows @ a

    pairs = krylov(operator, 3, dim=30, block=block, tol=0.0, max_products=budget, rng=rng)
    assert pairs.products == sum(used) == min(budget, 30)
    assert max(used) <= block


def budgeted(short):
    """Expects the warning of a budget that is `short`, and none of another."""
    if short:
        return pytest.warns(RuntimeWarning, match="max_products is spent")
    return nullcontext()  # pytest makes errors of warnings


@pytest.mark.parametrize("budget", [3, 6, 12, 60])
def test_the_residuals_of_krylov_certify_its_values(rng, budget):
    a, _ = symmetric(np.linspace(0, 1, 60) ** 3)
    a *= 7  # residuals have no unit
    with budgeted(budget < 60):
        pairs = krylov(a, 3, tol=1e-12, max_products=budget, rng=rng)
    exact = np.linalg.norm(
        pairs.eigenvectors @ a - pairs.eigenvalues[:, None] * pairs.eigenvectors, axis=1
    )
    np.testing.assert_allclose(pairs.residuals, exact / pairs.eigenvalues[0], atol=1e-12)
    distance = np.abs(pairs.eigenvalues[:, None] - np.linalg.eigvalsh(a)).min(axis=1)
    assert (distance <= (pairs.residuals + 1e-12) * pairs.eigenvalues[0]).all()
    assert pairs.converged == (budget == 60)


@pytest.mark.parametrize("tol", [1e-2, 1e-5, 1e-8])
def test_krylov_stops_as_soon_as_the_tolerance_allows(rng, tol):
    a, _ = symmetric(0.8 ** np.arange(60))
    pairs = krylov(a, 2, tol=tol, rng=rng)
    assert pairs.converged and pairs.residuals.max() <= tol
    assert pairs.products < 60


def test_a_search_that_falls_short_warns_with_both_numbers_at_the_line_of_the_user():
    a, _ = symmetric(0.9 ** np.arange(60))
    with pytest.warns(RuntimeWarning) as caught:
        pairs = krylov(a, 2, tol=1e-6, max_products=10, rng=0)
    assert not pairs.converged and pairs.products == 10
    (warning,) = caught
    reached = f"reach {pairs.residuals.max():.1e} of the largest value, not tol=1e-06; max_products"
    assert reached in str(warning.message)
    assert warning.filename == __file__


def test_a_tolerance_of_zero_takes_what_the_budget_gives_without_a_word():
    a, _ = symmetric(0.9 ** np.arange(60))
    pairs = krylov(a, 2, tol=0, max_products=10, rng=0)
    assert pairs.products == 10 and not pairs.converged and pairs.residuals.max() > 1e-3
    assert krylov(a, 2, tol=0, rng=0).converged
    assert krylov(DIAGONAL, 2, tol=0, rng=0).converged  # the whole space


def rounded(a, level, rng):
    """Products with `a` whose errors have the length `level` times that of the largest."""
    size = level * np.linalg.norm(a, 2) / np.sqrt(len(a))
    return lambda rows: rows @ a + size * rng.standard_normal(rows.shape)


@pytest.mark.parametrize("level", [1e-12, 1e-9, 1e-7, 1e-5])
@pytest.mark.parametrize("block", [1, 3])
@pytest.mark.parametrize("scale", [1e-14, 1e14])
def test_a_search_ends_at_the_rounding_of_the_products_which_is_measured(rng, level, block, scale):
    a, _ = symmetric(scale * 0.9 ** np.arange(300))
    options = {"dim": 300, "block": block, "rng": 0}
    pairs = krylov(rounded(a, level, rng), 4, tol=0, **options)
    assert pairs.converged and pairs.products < 200
    assert level / 10 < pairs.residuals.max() < 10 * level
    with pytest.warns(RuntimeWarning, match=r"rounding of the products .* float64"):
        less = krylov(rounded(a, level, rng), 4, tol=level / 100, **options)
    assert not less.converged and less.products < 200
    enough = krylov(rounded(a, level, rng), 4, tol=5 * level, **options)
    assert enough.converged and enough.products <= pairs.products


@pytest.mark.parametrize(("dtype", "gap"), [(np.float32, 1e-4), (np.float64, 1e-8)])
def test_a_pause_before_convergence_is_not_the_end(rng, dtype, gap):
    """Two close values pass for one until the space is large enough."""
    a, _ = symmetric(np.r_[1.0, 1 - gap, np.linspace(0.5, 0, 298)])
    a = a.astype(dtype)
    pairs = krylov(lambda v: v.astype(dtype) @ a, 1, dim=300, tol=gap / 50, rng=rng)
    assert pairs.converged and pairs.products < 100
    np.testing.assert_allclose(pairs.eigenvalues, 1, atol=gap / 50)


def test_krylov_needs_fewer_products_than_power_iteration_where_the_gap_is_small(rng):
    a, _ = symmetric(np.linspace(0, 1, 100) ** 0.5)
    error = {
        "power": 1 - steps(power_iteration(a, rng.standard_normal(100)), 29)[-1].value,
        "krylov": 1 - krylov(a, 1, max_products=30, tol=0.0, rng=rng).eigenvalues[0],
    }
    # rates per product: 1 - 0.005 (power) and about exp(-4 sqrt(0.005)) (Lanczos, value)
    assert error["krylov"] < error["power"] / 20


@given(d=st.integers(1, 9), seed=st.integers(0, 99), block=st.integers(1, 9), data=st.data())
def test_krylov_is_exact_on_the_whole_space_whatever_rank_and_multiplicity(d, seed, block, data):
    levels = st.sampled_from([-1.0, 0.0, 0.5, 2.0])
    values = sorted(data.draw(st.lists(levels, min_size=d, max_size=d)), reverse=True)
    a, _ = symmetric(values, seed)
    pairs = krylov(a, d, block=min(block, d), rng=np.random.default_rng(seed))
    np.testing.assert_allclose(pairs.eigenvalues, values, atol=1e-9)
    np.testing.assert_allclose(pairs.eigenvectors @ pairs.eigenvectors.T, np.eye(d), atol=1e-10)


# ---------------------------------------------------------------- the clock

LAM = np.array([20.0, 10.0, 5.0, 1.0])


@pytest.mark.parametrize("k", [0.0, 0.5, 1.0, 3.0])
def test_the_clock_of_a_power_of_the_covariance_is_the_power(k):
    np.testing.assert_allclose(clock(LAM**k, LAM), k, atol=1e-12)
    np.testing.assert_allclose(clock(1e8 * LAM**k, LAM), k, atol=1e-12)


def test_clocks_of_successive_maps_add(rng):
    gains = rng.uniform(0.1, 1, (5, 4))
    np.testing.assert_allclose(clock(gains.prod(axis=0), LAM), clock(gains, LAM).sum(axis=0))


@pytest.mark.parametrize("sigma", [1e-3, 0.5, 2.0, 80.0])
def test_a_wiener_step_is_worth_less_than_one_power_step(sigma):
    worth = clock(wiener(LAM, sigma), LAM)
    shrunk = np.log((LAM[0] + sigma**2) / (LAM[1:] + sigma**2))
    np.testing.assert_allclose(worth, 1 - shrunk / np.log(LAM[0] / LAM[1:]), atol=1e-12)
    assert ((worth > 0) & (worth < 1)).all()


def test_a_wiener_step_is_a_power_step_at_large_noise_and_nothing_at_small():
    np.testing.assert_allclose(clock(wiener(LAM, 1e5), LAM), 1, atol=1e-8)
    np.testing.assert_allclose(clock(wiener(LAM, 1e-5), LAM), 0, atol=1e-8)


def test_the_chain_of_posterior_means_is_worth_one_wiener_step():
    sigmas = geometric(17, 0.01, 6.0)
    gain = law(LinearDenoiser(Gaussian(np.zeros(4), LAM, np.eye(4))), sigmas, step=ddpm).gain
    np.testing.assert_allclose(clock(gain[-1], LAM), clock(wiener(LAM, 6.0), LAM), rtol=1e-10)


def test_the_clock_is_undefined_on_ties_with_the_first_eigenvalue_only():
    worth = clock([4.0, 4.0, 3.0, 1.0, 1.0], [2.0, 2.0, 2.0, 1.0, 1.0])
    np.testing.assert_array_equal(np.isnan(worth), [True, True, False, False])
    np.testing.assert_allclose(worth[2:], 2)


@given(
    ratios=st.lists(st.floats(1.01, 10), min_size=1, max_size=6),
    sigma=st.floats(1e-8, 1e8),
)
def test_the_clock_of_a_wiener_step_lies_between_zero_and_one(ratios, sigma):
    lam = np.append(1.0, 1 / np.cumprod(ratios))
    worth = clock(wiener(lam, sigma), lam)
    # rounding of a gain, over the logarithm of the smallest ratio 1.01
    assert ((worth > -1e-13) & (worth < 1 + 1e-13)).all()


# ---------------------------------------------------------------- wrong input

RNG = np.random.default_rng(0)
DIAGONAL = np.diag([2.0, 1.0])
SKEW = np.array([[1.0, 1.0], [-1.0, 1.0]])
WRONG = {
    "power from zero": (lambda: next(power_iteration(DIAGONAL, [0.0, 0.0])), "v is zero"),
    "power into zero": (
        lambda: steps(power_iteration(np.zeros((2, 2)), [1.0, 0.0]), 2),
        "v is zero, at the start or because a maps it to zero",
    ),
    "power from a matrix": (
        lambda: next(power_iteration(DIAGONAL, np.eye(2))),
        "v has shape (2, 2); expected 1 dimension",
    ),
    "power from nan": (
        lambda: next(power_iteration(DIAGONAL, [np.nan, 0.0])),
        "v is nan at index [0]; expected finite",
    ),
    "power across dimensions": (
        lambda: next(power_iteration(DIAGONAL, np.ones(3))),
        "operator a has shape (2, 2); expected (3, 3)",
    ),
    "matrix that is not square": (
        lambda: next(power_iteration(np.ones((2, 3)), np.ones(3))),
        "operator a has shape (2, 3); expected (3, 3)",
    ),
    "linear operator across dimensions": (
        lambda: next(power_iteration(aslinearoperator(DIAGONAL), np.ones(3))),
        "operator a has shape (2, 2); expected (3, 3)",
    ),
    "matrix with nan": (
        lambda: next(power_iteration([[np.nan]], [1.0])),
        "a is nan at index [0, 0]; expected finite",
    ),
    "operator of a wrong shape": (
        lambda: next(power_iteration(lambda rows: rows[:, :1], np.ones(3))),
        "result of the operator has shape (1, 1); expected (1, 3)",
    ),
    "operator that returns nan": (
        lambda: next(power_iteration(lambda rows: rows * np.nan, np.ones(3))),
        "the operator returned a value that is not finite",
    ),
    "subspace from a vector": (
        lambda: next(subspace_iteration(DIAGONAL, [1.0, 0.0])),
        "v has shape (2,); expected 2 dimension",
    ),
    "subspace larger than the space": (
        lambda: next(subspace_iteration(DIAGONAL, np.ones((3, 2)))),
        "number of rows of v is 3; expected an integer of at least 1 and at most 2",
    ),
    "subspace without rows": (
        lambda: next(subspace_iteration(DIAGONAL, np.empty((0, 2)))),
        "number of rows of v is 0; expected",
    ),
    "dependent rows": (
        lambda: next(subspace_iteration(DIAGONAL, np.ones((2, 2)))),
        "the rows of v are linearly dependent",
    ),
    "rows made dependent": (
        lambda: steps(subspace_iteration(np.diag([1.0, 0.0]), np.eye(2)), 2),
        "the rows of v are linearly dependent, at the start or after a product",
    ),
    "subspace of an asymmetric operator": (
        lambda: next(subspace_iteration(SKEW, np.eye(2))),
        "the operator is asymmetric (2.0e+00 of its size on the subspace)",
    ),
    "krylov of an asymmetric operator": (
        lambda: krylov(SKEW, 2, rng=RNG),
        "expected a symmetric one, such as (J + J.T)/2",
    ),
    "k of zero": (
        lambda: krylov(DIAGONAL, 0, rng=RNG),
        "k is 0; expected an integer of at least 1 and at most 2",
    ),
    "k above d": (lambda: krylov(DIAGONAL, 3, rng=RNG), "k is 3; expected"),
    "block of zero": (lambda: krylov(DIAGONAL, 1, block=0, rng=RNG), "block is 0; expected"),
    "block above d": (lambda: krylov(DIAGONAL, 1, block=3, rng=RNG), "block is 3; expected"),
    "budget below k": (
        lambda: krylov(DIAGONAL, 2, max_products=1, rng=RNG),
        "max_products is 1; expected an integer of at least 2",
    ),
    "callable without dimension": (
        lambda: krylov(lambda rows: rows, 1, rng=RNG),
        "dim is None; expected the dimension d",
    ),
    "array of another dimension": (
        lambda: krylov(DIAGONAL, 1, dim=3, rng=RNG),
        "operator a has shape (2, 2); expected (3, 3)",
    ),
    "krylov of a vector": (
        lambda: krylov([1.0, 2.0], 1, rng=RNG),
        "a has shape (2,); expected a square matrix",
    ),
    "krylov of a callable of a wrong shape": (
        lambda: krylov(lambda rows: rows.T, 1, dim=2, rng=RNG),
        "result of the operator has shape (2, 1); expected (1, 2)",
    ),
    "gains of another length": (
        lambda: clock([1.0, 1.0, 1.0], [2.0, 1.0]),
        "gains and eigenvalues have shapes (3,) and (2,); expected (..., r) and (r,)",
    ),
    "an eigenvalue of zero": (lambda: clock([1.0, 1.0, 1.0], [4.0, 2.0, 0.0]), "expected positive"),
    "a single gain": (lambda: clock(1.0, [2.0, 1.0]), "gains and eigenvalues have shapes ()"),
    "a single eigenvalue": (lambda: clock([1.0], [2.0]), "with r >= 2"),
    "a gain of zero": (
        lambda: clock([1.0, 0.0], [2.0, 1.0]),
        "gains is [1. 0.], eigenvalues [2. 1.]; expected positive, finite numbers",
    ),
    "a gain of nan": (
        lambda: clock([1.0, np.nan], [2.0, 1.0]),
        "expected positive, finite numbers",
    ),
    "a second eigenvalue of zero": (
        lambda: clock([1.0, 1.0], [2.0, 0.0]),
        "expected positive, finite numbers",
    ),
    "eigenvalues that rise": (
        lambda: clock([1.0, 1.0], [1.0, 2.0]),
        "eigenvalues rises from 1.0 to 2.0; expected descending order",
    ),
}


@pytest.mark.parametrize("case", WRONG)
def test_wrong_input_is_named_with_what_was_expected(case):
    call, message = WRONG[case]
    with pytest.raises(ValueError, match=re.escape(message)):
        call()


UNCHECKED = {
    "krylov of a number": (lambda: krylov(3.0, 1, rng=RNG), "a "),
    "tolerance of nan": (lambda: krylov(DIAGONAL, 1, tol=np.nan, rng=RNG), "tol is nan; expected"),
    "tolerance below zero": (lambda: krylov(DIAGONAL, 1, tol=-1.0, rng=RNG), "tol is -1"),
    "a seed below zero": (lambda: krylov(DIAGONAL, 1, rng=-1), "rng is -1; expected"),
    "an infinite gain": (lambda: clock([np.inf, 1.0], [2.0, 1.0]), "gains "),
}


@pytest.mark.parametrize("case", UNCHECKED)
def test_unchecked_input_is_named_too(case):
    call, message = UNCHECKED[case]
    with pytest.raises(ValueError, match=message):
        call()


def test_a_sparse_matrix_is_an_operator():
    a = scipy.sparse.diags_array([3.0, 2.0, 1.0]).tocsr()
    assert krylov(a, 1, rng=RNG).eigenvalues[0] == pytest.approx(3.0)


def test_the_unit_of_a_matrix_does_not_matter(rng):
    basis = np.linalg.qr(rng.standard_normal((60, 60)))[0]
    a = basis * 0.9 ** np.arange(60) @ basis.T
    small, large = (krylov(s * a, 2, rng=np.random.default_rng(0)) for s in (1e-14, 1e14))
    np.testing.assert_allclose(small.eigenvalues / 1e-14, [1, 0.9], rtol=1e-4)
    np.testing.assert_allclose(large.eigenvalues / 1e14, [1, 0.9], rtol=1e-4)
    assert small.products == large.products < 60
    np.testing.assert_allclose(small.residuals, large.residuals, rtol=1e-3)
    assert small.residuals.max() <= 1e-8 and small.converged and large.converged
