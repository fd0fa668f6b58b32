"""The Gaussian law: fit, moments, Wasserstein distance and divergence."""

import re
from dataclasses import FrozenInstanceError

import numpy as np
import pytest
import scipy.linalg
from hypothesis import given
from hypothesis import strategies as st

from lindiff.gaussian import Gaussian, kl_divergence, wasserstein2

SPECTRA = {
    "full rank": [4.0, 2.0, 1.0, 0.3],
    "repeated": [2.0, 2.0, 2.0, 0.5],
    "low rank": [3.0, 1.0],
    "with zeros": [3.0, 1.0, 0.0, 0.0],
    "a point": [],
}


def point(mean):
    """The law without spread."""
    return Gaussian(mean, [], np.empty((0, len(mean))))


def scaled(law, factor):
    """The law of `factor` times a sample."""
    return Gaussian(factor * law.mean, factor**2 * law.eigenvalues, law.basis)


@st.composite
def laws(draw, dim):
    """Gaussian laws on a space of dimension `dim`, of any rank."""
    rank = draw(st.integers(0, dim))
    values = sorted(draw(st.lists(st.floats(0, 9), min_size=rank, max_size=rank)), reverse=True)
    rng = np.random.default_rng(draw(st.integers(0, 1000)))
    basis = np.linalg.qr(rng.standard_normal((dim, dim)))[0][:rank]
    return Gaussian(rng.standard_normal(dim), values, basis)


# ---------------------------------------------------------------- fit, covariance, sample


@pytest.mark.parametrize(("n", "d"), [(50, 6), (6, 6), (4, 6), (7, 6)])
def test_a_full_fit_has_the_moments_of_the_data(rng, n, d):
    x = rng.standard_normal((n, d)) @ rng.standard_normal((d, d)) + 5
    law = Gaussian.fit(x)
    np.testing.assert_allclose(law.mean, x.mean(axis=0))
    # from at most 6 eigenvalues of size ~10: rounding only
    np.testing.assert_allclose(law.covariance(), np.cov(x.T, bias=True), atol=1e-12)


@pytest.mark.parametrize(("n", "d"), [(50, 6), (4, 6)])
@pytest.mark.parametrize("rank", [1, 3, 4])
def test_a_fit_of_rank_r_keeps_the_leading_singular_vectors(rng, n, d, rank):
    x = rng.standard_normal((n, d)) * np.arange(1, d + 1)
    law = Gaussian.fit(x, rank)
    _, singular, vt = np.linalg.svd(x - x.mean(axis=0))
    np.testing.assert_allclose(law.eigenvalues, singular[:rank] ** 2 / n, atol=1e-12)
    positive = singular[:rank] > 1e-9  # a centred sample of 4 has rank 3
    overlap = np.abs(law.basis @ vt[:rank].T)
    np.testing.assert_allclose(np.diag(overlap)[positive], 1, atol=1e-10)


def test_both_branches_of_the_fit_agree_where_they_meet(rng):
    x = rng.standard_normal((6, 6))
    doubled = np.vstack([x, x])  # the same law, now with more samples than dimensions
    wide, tall = Gaussian.fit(x, 5), Gaussian.fit(doubled, 5)
    np.testing.assert_allclose(wide.eigenvalues, tall.eigenvalues, atol=1e-12)
    np.testing.assert_allclose(wide.basis, tall.basis, atol=1e-7)


@pytest.mark.parametrize(("n", "d"), [(40, 5), (4, 5)])
def test_the_largest_entry_of_each_fitted_vector_is_positive(rng, n, d):
    basis = Gaussian.fit(rng.standard_normal((n, d))).basis
    assert (basis[np.arange(len(basis)), np.abs(basis).argmax(axis=1)] > 0).all()


@pytest.mark.parametrize("name", SPECTRA)
def test_a_fit_to_a_design_with_the_moments_of_a_law_returns_the_law(random_law, name):
    law = random_law(SPECTRA[name], dim=4)
    axes = np.sqrt(max(law.rank, 1) * law.eigenvalues)[:, None] * law.basis
    design = law.mean + np.vstack([axes, -axes, np.zeros((0 if law.rank else 2, 4))])
    fitted = Gaussian.fit(design)
    np.testing.assert_allclose(fitted.mean, law.mean, atol=1e-12)
    np.testing.assert_allclose(fitted.covariance(), law.covariance(), atol=1e-12)


def test_the_eigendecomposition_of_a_covariance_gives_it_back(rng):
    root = rng.standard_normal((5, 5))
    covariance = root @ root.T
    values, vectors = np.linalg.eigh(covariance)
    law = Gaussian(np.zeros(5), values[::-1], vectors.T[::-1])
    np.testing.assert_allclose(law.covariance(), covariance, atol=1e-12)


@pytest.mark.parametrize("name", SPECTRA)
def test_samples_have_the_moments_of_the_law(random_law, rng, name):
    law, n = random_law(SPECTRA[name], dim=4), 20_000
    x = law.sample(n, rng=rng)
    sigma = law.covariance()
    variances = np.diag(sigma)
    assert x.shape == (n, 4)
    # four standard errors of a mean and of an entry of a Gaussian sample covariance
    assert (np.abs(x.mean(axis=0) - law.mean) <= 4 * np.sqrt(variances / n) + 1e-12).all()
    error = np.sqrt((np.outer(variances, variances) + sigma**2) / n)
    assert (np.abs(np.cov(x.T) - sigma) <= 4 * error + 1e-12).all()


def test_samples_of_a_law_of_low_rank_stay_in_its_span(random_law, rng):
    law = random_law([3.0, 1.0], dim=5)
    shift = law.sample(100, rng=rng) - law.mean
    np.testing.assert_allclose(shift @ law.basis.T @ law.basis, shift, atol=1e-12)


def test_samples_are_a_function_of_the_generator(random_law):
    law = random_law([3.0, 1.0])
    first, again = (law.sample(3, rng=np.random.default_rng(7)) for _ in range(2))
    np.testing.assert_array_equal(first, again)


def test_a_law_cannot_be_reassigned(random_law):
    with pytest.raises(FrozenInstanceError):
        random_law([1.0]).mean = np.zeros(1)


@given(
    n=st.integers(1, 7),
    d=st.integers(1, 7),
    share=st.floats(0, 1),
    scale=st.sampled_from([1e-8, 1.0, 1e8]),
    seed=st.integers(0, 99),
)
def test_a_fit_holds_for_every_shape_rank_and_scale(n, d, share, scale, seed):
    x = scale * np.random.default_rng(seed).standard_normal((n, d))
    rank = round(share * min(n, d))
    law = Gaussian.fit(x, rank)
    assert (law.dim, law.rank, law.basis.shape) == (d, rank, (rank, d))
    assert law.mean.dtype == law.eigenvalues.dtype == law.basis.dtype == np.float64
    # kept and lost variance add up to the total
    values = np.linalg.eigvalsh(np.cov(x.T, bias=True).reshape(d, d))[::-1]
    np.testing.assert_allclose(law.eigenvalues, values[:rank], atol=1e-12 * scale**2)
    np.testing.assert_allclose(law.basis @ law.basis.T, np.eye(rank), atol=1e-12)


@pytest.mark.parametrize(
    ("n", "d", "varying"),
    [(5, 20, 4), (20, 20, 19), (1, 3, 0), (40, 2, 1), (3000, 2, 1), (60, 30, 7), (400, 30, 30)],
)
@pytest.mark.parametrize("scale", [1e-8, 1.0, 1e8])
def test_directions_in_which_the_data_do_not_vary_have_variance_zero(rng, n, d, varying, scale):
    # repeated: the rounding that eigh and svd make of a zero differs from data to data
    for _ in range(30):
        frame = np.linalg.qr(rng.standard_normal((d, d)))[0][: max(varying, 1)]
        x = scale * (rng.standard_normal((n, len(frame))) @ frame + rng.standard_normal(d))
        values = Gaussian.fit(x).eigenvalues
        assert values.shape == (min(n, d),)
        assert (values > 0).sum() == varying


@pytest.mark.parametrize("n", [1000, 100_000])
def test_a_small_variance_is_kept_beside_a_large_one(rng, n):
    x = rng.standard_normal((n, 2)) * [1e6, 1.0]  # two units, as in measured data
    assert Gaussian.fit(x).eigenvalues[1] == pytest.approx(x[:, 1].var(), rel=0.02)


def test_a_law_is_printed_in_one_line(random_law):
    assert repr(random_law([3.0, 1.0], dim=500)) == "Gaussian(dim=500, rank=2)"


@given(value=st.floats(1e-3, 1e3), d=st.integers(1, 6), seed=st.integers(0, 99))
def test_a_fit_of_isotropic_data_is_isotropic_in_whatever_basis(value, d, seed):
    rotation = np.linalg.qr(np.random.default_rng(seed).standard_normal((d, d)))[0]
    axes = np.sqrt(d * value) * rotation
    law = Gaussian.fit(np.vstack([axes, -axes]))
    np.testing.assert_allclose(law.covariance(), value * np.eye(d), atol=1e-10 * value)


# ---------------------------------------------------------------- Wasserstein distance


def bures(a, b):
    """W2 from dense matrices: sum of roots of the eigenvalues of the product of covariances."""
    roots = np.sqrt(np.linalg.eigvals(a.covariance() @ b.covariance()).astype(complex)).real
    spread = np.trace(a.covariance() + b.covariance()) - 2 * roots.sum()
    return np.sqrt(((a.mean - b.mean) ** 2).sum() + max(spread, 0.0))


@pytest.mark.parametrize("seed", range(4))
def test_w2_is_the_formula_with_matrix_square_roots(random_law, seed):
    a = random_law([4.0, 2.0, 1.0, 0.3], seed=seed)
    b = random_law([5.0, 1.0, 0.5, 0.1], seed=seed + 10)
    root = scipy.linalg.sqrtm(a.covariance())
    cross = scipy.linalg.sqrtm(root @ b.covariance() @ root)
    square = ((a.mean - b.mean) ** 2).sum() + np.trace(a.covariance() + b.covariance() - 2 * cross)
    assert wasserstein2(a, b) ** 2 == pytest.approx(square, rel=1e-10)


@pytest.mark.parametrize("first", SPECTRA)
@pytest.mark.parametrize("second", SPECTRA)
def test_w2_is_exact_at_every_pair_of_ranks(random_law, first, second):
    a, b = random_law(SPECTRA[first], 4, seed=1), random_law(SPECTRA[second], 4, seed=2)
    # the dense formula takes roots of eigenvalues that are zero up to 1e-16
    assert wasserstein2(a, b) == pytest.approx(bures(a, b), abs=1e-6)


def test_w2_of_commuting_laws_is_the_distance_of_standard_deviations(random_law):
    a = random_law([9.0, 4.0, 1.0])
    b = Gaussian(a.mean + 1.0, [4.0, 4.0, 0.0], a.basis)
    assert wasserstein2(a, b) ** 2 == pytest.approx(3 + 1 + 0 + 1)


def test_w2_of_nearly_equal_laws_is_free_of_cancellation(random_law):
    a = random_law([9.0, 4.0, 1.0])
    b = Gaussian(a.mean, a.eigenvalues * (1 + 1e-12), a.basis)
    assert wasserstein2(a, b) == pytest.approx(0.5e-12 * np.sqrt(14), rel=1e-3)


@given(a=laws(3), b=laws(3), c=laws(3))
def test_w2_is_a_metric(a, b, c):
    distance = wasserstein2(a, b)
    assert distance >= np.linalg.norm(a.mean - b.mean) - 1e-9
    assert distance == pytest.approx(wasserstein2(b, a), abs=1e-6)
    assert wasserstein2(a, a) == 0
    # 1e-6: a distance that should be 0 is the root of a rounded difference of numbers of size 10
    assert wasserstein2(a, c) <= distance + wasserstein2(b, c) + 1e-6


def test_w2_does_not_see_the_basis_of_a_repeated_eigenvalue(random_law):
    a, b = random_law([2.0, 2.0, 2.0], seed=1), random_law([2.0, 2.0, 2.0], seed=2)
    moved = Gaussian(a.mean, b.eigenvalues, b.basis)
    # root of a difference of two traces of size 6
    assert wasserstein2(a, moved) == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("factor", [1e-8, 1.0, 1e8])
def test_w2_carries_the_unit_of_the_data(random_law, factor):
    a, b = random_law([4.0, 1.0], seed=1), random_law([3.0, 0.5], seed=2)
    distance = wasserstein2(scaled(a, factor), scaled(b, factor))
    assert distance == pytest.approx(factor * wasserstein2(a, b))


# ---------------------------------------------------------------- Kullback-Leibler divergence


def dense_kl(mean_a, cov_a, mean_b, cov_b):
    """KL of non-singular Gaussians from dense matrices."""
    shift = mean_b - mean_a
    quadratic = np.trace(np.linalg.solve(cov_b, cov_a)) + shift @ np.linalg.solve(cov_b, shift)
    logs = np.linalg.slogdet(cov_b)[1] - np.linalg.slogdet(cov_a)[1]
    return 0.5 * (quadratic - len(shift) + logs)


@pytest.mark.parametrize("seed", range(4))
def test_kl_is_the_formula_with_dense_matrices(random_law, seed):
    a = random_law([4.0, 2.0, 1.0, 0.3], seed=seed)
    b = random_law([5.0, 1.0, 0.5, 0.1], seed=seed + 10)
    expected = dense_kl(a.mean, a.covariance(), b.mean, b.covariance())
    assert kl_divergence(a, b) == pytest.approx(expected, rel=1e-10)


def test_kl_of_singular_laws_on_one_subspace_is_the_one_inside_it(random_law, rng):
    frame = random_law([1.0, 1.0], dim=5).basis
    turn = np.linalg.qr(rng.standard_normal((2, 2)))[0]
    a = Gaussian(np.ones(5), [3.0, 1.0], frame)
    b = Gaussian(np.ones(5) + 2 * frame[0], [2.0, 0.5], turn @ frame)
    inside = (frame @ a.mean, np.diag([3.0, 1.0]), frame @ b.mean, turn.T * [2.0, 0.5] @ turn)
    assert kl_divergence(a, b) == pytest.approx(dense_kl(*inside))


@given(a=laws(3), b=laws(3))
def test_kl_is_not_negative_and_vanishes_at_equal_laws(a, b):
    assert kl_divergence(a, b) >= -1e-9
    assert kl_divergence(a, a) == pytest.approx(0, abs=1e-9)


E2 = np.eye(2)
NO_RATIO = {
    "fewer directions": (Gaussian([0, 0], [1.0], E2[:1]), Gaussian([0, 0], [1.0, 1.0], E2)),
    "more directions": (Gaussian([0, 0], [1.0, 1.0], E2), Gaussian([0, 0], [1.0], E2[:1])),
    "other direction": (Gaussian([0, 0], [1.0], E2[:1]), Gaussian([0, 0], [1.0], E2[1:])),
    "shifted off": (Gaussian([0, 0], [1.0], E2[:1]), Gaussian([0, 1], [1.0], E2[:1])),
    "two points": (point([0.0, 0.0]), point([0.0, 1.0])),
    "a zero eigenvalue": (Gaussian([0, 0], [1.0, 0.0], E2), Gaussian([0, 0], [1.0, 1.0], E2)),
}


@pytest.mark.parametrize("case", NO_RATIO)
def test_kl_is_infinite_without_a_density_ratio(case):
    assert kl_divergence(*NO_RATIO[case]) == np.inf


def test_kl_does_not_count_directions_of_variance_zero():
    a, b = Gaussian([0, 0], [2.0, 0.0], E2), Gaussian([1, 0], [1.0], E2[:1])
    assert kl_divergence(a, b) == pytest.approx(0.5 * (2 + 1 - 1 - np.log(2)))
    assert kl_divergence(point([1.0, 2.0]), point([1.0, 2.0])) == 0


@pytest.mark.parametrize("factor", [1e-8, 1.0, 1e8])
def test_kl_has_no_unit(random_law, factor):
    a, b = random_law([4.0, 1.0], seed=1), random_law([3.0, 0.5], seed=2)
    divergence = kl_divergence(scaled(a, factor), scaled(b, factor))
    assert divergence == pytest.approx(kl_divergence(a, b))


@pytest.mark.parametrize("case", ["shifted off", "two points"])
@pytest.mark.parametrize("factor", [1e-8, 1e8])
def test_kl_is_infinite_in_every_unit(case, factor):
    a, b = NO_RATIO[case]
    assert kl_divergence(scaled(a, factor), scaled(b, factor)) == np.inf


# ---------------------------------------------------------------- wrong input

LAW = Gaussian(np.zeros(2), [2.0, 1.0], np.eye(2))
WRONG = {
    "mean is a matrix": (
        lambda: Gaussian(np.zeros((1, 2)), [1.0, 1.0], E2),
        "mean has shape (1, 2); expected 1 dimension",
    ),
    "mean has nan": (
        lambda: Gaussian([0.0, np.nan], [1.0, 1.0], E2),
        "mean is nan at index [1]; expected finite",
    ),
    "eigenvalue is negative": (
        lambda: Gaussian([0, 0], [1.0, -1.0], E2),
        "eigenvalues contains -1.0; expected non-negative",
    ),
    "eigenvalues rise": (
        lambda: Gaussian([0, 0], [1.0, 2.0], E2),
        "eigenvalues rises from 1.0 to 2.0; expected descending",
    ),
    "eigenvalue is infinite": (
        lambda: Gaussian([0, 0], [np.inf, 2.0], E2),
        "eigenvalues is inf at index [0]; expected finite",
    ),
    "basis has too few rows": (
        lambda: Gaussian([0, 0], [2.0, 1.0], E2[:1]),
        "basis has shape (1, 2); expected (2, 2)",
    ),
    "basis is a vector": (
        lambda: Gaussian([0, 0], [2.0], [1.0, 0.0]),
        "basis has shape (2,); expected 2 dimension",
    ),
    "basis is not orthonormal": (
        lambda: Gaussian([0, 0], [2.0, 1.0], 2 * E2),
        "rows of basis are orthonormal up to 3.0e+00; expected at most 1e-6",
    ),
    "data is a vector": (lambda: Gaussian.fit([1.0, 2.0]), "x has shape (2,); expected 2"),
    "data has nan": (lambda: Gaussian.fit([[1.0, np.nan]]), "x is nan at index [0, 1]"),
    "data is empty": (
        lambda: Gaussian.fit(np.empty((0, 3))),
        "number of samples (rows of x) is 0; expected an integer of at least 1",
    ),
    "rank above d": (
        lambda: Gaussian.fit(np.ones((5, 3)), 4),
        "rank is 4; expected an integer of at least 0 and at most 3",
    ),
    "rank above n": (
        lambda: Gaussian.fit(np.ones((2, 3)), 3),
        "rank is 3; expected an integer of at least 0 and at most 2",
    ),
    "rank is negative": (lambda: Gaussian.fit(np.ones((2, 3)), -1), "rank is -1; expected"),
    "rank is fractional": (lambda: Gaussian.fit(np.ones((2, 3)), 1.5), "rank is 1.5; expected"),
    "no samples": (
        lambda: LAW.sample(0, rng=np.random.default_rng(0)),
        "n is 0; expected an integer of at least 1",
    ),
    "w2 across dimensions": (
        lambda: wasserstein2(LAW, point([0.0])),
        "dimensions 2 and 1; expected equal",
    ),
    "kl across dimensions": (
        lambda: kl_divergence(LAW, point([0.0])),
        "dimensions 2 and 1; expected equal",
    ),
}


@pytest.mark.parametrize("case", WRONG)
def test_wrong_input_is_named_with_what_was_expected(case):
    call, message = WRONG[case]
    with pytest.raises(ValueError, match=re.escape(message)):
        call()


UNCONVERTED = {
    "rank is nan": (lambda: Gaussian.fit(np.ones((2, 3)), np.nan), "rank is nan; expected"),
    "rank is infinite": (lambda: Gaussian.fit(np.ones((2, 3)), np.inf), "rank is inf; expected"),
    "rank is text": (lambda: Gaussian.fit(np.ones((2, 3)), "all"), "rank is 'all'; expected"),
    "mean is text": (lambda: Gaussian("ab", [], np.empty((0, 2))), "mean"),
    "data is ragged": (lambda: Gaussian.fit([[1.0], [1.0, 2.0]]), "x "),
    "w2 of data": (
        lambda: wasserstein2(np.ones((5, 2)), LAW),
        "a is of type ndarray and shape (5, 2); expected a Gaussian",
    ),
    "kl from data": (
        lambda: kl_divergence(LAW, np.ones((5, 2))),
        "b is of type ndarray and shape (5, 2); expected a Gaussian",
    ),
    "a seed below zero": (lambda: LAW.sample(2, rng=-1), "rng is -1; expected"),
}


@pytest.mark.parametrize("case", UNCONVERTED)
def test_a_value_of_the_wrong_type_is_named(case):
    call, message = UNCONVERTED[case]
    with pytest.raises(ValueError, match="^" + re.escape(message)):
        call()


def test_a_law_does_not_change_with_the_caller_s_arrays():
    mean = np.zeros(2)
    law = Gaussian(mean, [2.0, 1.0], np.eye(2))
    mean[0] = 7.0
    assert law.mean[0] == 0.0
