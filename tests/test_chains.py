"""Chains of estimated projections: the algebra, the exact draws, and the theorems of Part III."""

import numpy as np
import pytest
from scipy.stats import ks_2samp

from lindiff.chains import chain_limits, draw_chain, overlap_limit, projection_chain
from lindiff.clocks import clock, operator_clock, sampler_clock
from lindiff.data import digits
from lindiff.denoisers import LinearDenoiser, wiener
from lindiff.gaussian import Gaussian
from lindiff.pca import noisy_pca
from lindiff.samplers import ddim, redenoise
from lindiff.schedules import geometric
from lindiff.spiked import alignment_limit, emergence_sigma

# Some fifty comparisons at this level fail once in ten thousand suites if the laws agree.
LEVEL = 2e-6
Z_MOST = 4.75  # the same level, two-sided, for a normal z-score


def random_bases(levels, rank, dim, rng):
    return np.stack([np.linalg.qr(rng.standard_normal((dim, rank)))[0].T for _ in range(levels)])


def dense(bases):
    """P_1 ... P_T as d × d matrices."""
    out = np.eye(bases.shape[2])
    for basis in bases:  # from noise to data: each next projection acts on the result
        out = basis.T @ basis @ out
    return out


def leading(covariances, rank):
    """Leading eigenvectors, as rows, of a stack of covariances."""
    return np.swapaxes(np.linalg.eigh(covariances)[1][..., ::-1][..., :rank], -1, -2)


def z_scores(draws):
    """Mean over the first axis in units of its standard error."""
    return draws.mean(axis=0) / (draws.std(axis=0, ddof=1) / np.sqrt(len(draws)))


def off_diagonal(matrices):
    return matrices[..., ~np.eye(matrices.shape[-1], dtype=bool)]


# ---------------------------------------------------------------- algebra


@pytest.mark.parametrize(("levels", "rank", "dim"), [(1, 2, 5), (2, 1, 3), (6, 3, 12), (4, 4, 4)])
def test_a_chain_is_the_product_of_its_projections(levels, rank, dim, rng):
    bases, true = random_bases(levels, rank, dim, rng), np.linalg.qr(rng.normal(size=(dim, dim)))[0]
    chain, whole = projection_chain(bases), dense(bases)
    norm = np.exp(chain.log_norm)
    assert np.isclose(norm, np.linalg.norm(whole, 2), rtol=1e-12)
    np.testing.assert_allclose(norm * chain.matrix(), whole, atol=1e-13)
    np.testing.assert_allclose(
        norm * chain.matrix(true[:2]), true[:2] @ whole @ true[:2].T, atol=1e-13
    )
    values = np.linalg.svd(whole, compute_uv=False)
    np.testing.assert_allclose(norm * chain.singular_values, values[:rank], atol=1e-13)


def test_the_norm_of_a_long_chain_does_not_underflow():
    angle = 1.0
    turned = np.array([[np.cos(angle), np.sin(angle)]])
    chain = projection_chain([np.eye(2)[:1], turned] * 3000)
    assert np.isclose(chain.log_norm, 5999 * np.log(np.cos(angle)), rtol=1e-12)
    assert np.exp(chain.log_norm) == 0
    assert np.isclose(chain.singular_values[0], 1)


def test_a_chain_of_orthogonal_projections_vanishes():
    chain = projection_chain([np.eye(2)[:1], np.eye(2)[1:], np.eye(2)[:1]])
    assert chain.log_norm == -np.inf
    assert not chain.matrix().any()


# ---------------------------------------------------------------- exact draws


def direct_chains(dim, n, lam, sigmas, size, rng):
    """Chains with fresh images at each level, from the covariances themselves."""
    r = len(lam)
    for _ in range(size):
        bases = []
        for sigma in sigmas:
            scale = np.concatenate([np.sqrt(lam + sigma**2), np.full(dim - r, sigma)])
            y = rng.standard_normal((n, dim)) * scale
            bases.append(leading(y.T @ y, r))
        yield projection_chain(np.array(bases))


@pytest.mark.parametrize(
    ("dim", "n", "lam"),
    [(12, 20, [2.0]), (2, 5, [1.0]), (8, 30, [4.0, 1.0]), (4, 6, [4.0, 1.0]), (20, 9, [6.0, 3.0])],
)
def test_drawn_chains_have_the_direct_law(dim, n, lam, rng):
    lam, sigmas, r = np.array(lam), [1.0, 0.7, 0.4], len(lam)
    drawn = draw_chain(dim, n, lam, sigmas, 600, rng=rng)
    direct = list(direct_chains(dim, n, lam, sigmas, 600, rng))
    pairs = [(drawn.log_norm, [c.log_norm for c in direct])]
    if r > 1:
        pairs.append((drawn.singular_values[:, 1], [c.singular_values[1] for c in direct]))
    mine, theirs = drawn.matrix(), np.array([c.matrix(np.eye(dim)[:r]) for c in direct])
    pairs += [(mine[:, i, j], theirs[:, i, j]) for i in range(r) for j in range(r)]
    for first, second in pairs:
        assert ks_2samp(first, second).pvalue > LEVEL


def test_drawn_chains_reach_the_limits_at_a_million_dimensions(rng):
    lam, sigmas = np.array([4.0, 2.0]), [1.0, 0.8, 0.5]
    drawn = draw_chain(10**6, 10**6, lam, sigmas, 30, rng=rng)
    norm, limits = np.exp(drawn.log_norm), chain_limits(lam, sigmas, 1.0)
    np.testing.assert_allclose(
        (norm[:, None] * drawn.singular_values).mean(axis=0), limits.singular_values, atol=0.003
    )
    entries = norm[:, None] * np.diagonal(drawn.matrix(), axis1=1, axis2=2)
    np.testing.assert_allclose(entries.mean(axis=0), limits.diagonal, atol=0.003)


# ---------------------------------------------------------------- Theorems A and A'


@pytest.mark.parametrize("noise", ["fresh", "cumulative", "frozen"])
def test_the_average_chain_is_diagonal_whatever_the_noise_shares(noise, rng):
    lam, dim, n = np.array([4.0, 2.0, 0.0, 0.0]), 4, 8
    single, square, normalised = [], [], []
    for _ in range(1200):
        x = rng.standard_normal((n, dim)) * np.sqrt(lam)
        chain = projection_chain(noisy_pca(x, [1.2, 0.8, 0.4], 2, noise=noise, rng=rng).basis)
        matrix = chain.matrix()
        normalised.append(matrix)
        single.append(np.exp(chain.log_norm) * matrix)
        square.append(single[-1] @ single[-1].T)
    for draws in (single, square, normalised):
        assert np.abs(z_scores(off_diagonal(np.array(draws)))).max() < Z_MOST
        diagonal = z_scores(np.diagonal(np.array(draws), axis1=1, axis2=2))
        assert diagonal[:2].min() > 10  # the test sees what is there


def average_projection(x, sigma, rng, *, centre):
    """Draws of the leading projection of noisy images x (runs, n, d)."""
    y = x + sigma * rng.standard_normal(x.shape)
    y = y - y.mean(axis=1, keepdims=True) if centre else y
    u = leading(np.swapaxes(y, 1, 2) @ y, 1)[:, 0]
    return u[:, :, None] * u[:, None, :]


def test_skewed_uncorrelated_data_break_the_diagonal(rng):
    e = rng.exponential(size=(40_000, 10)) - 1
    second = (e**2 - 2 * e - 1) / 2  # E e^3 = 2: uncorrelated with e; E e^4 = 9: variance 1
    x = np.stack([2 * e, second, np.zeros_like(e)], axis=2)
    assert abs((x[..., 0] * x[..., 1]).mean()) < 0.05  # standard error 0.02
    entries = average_projection(x, 0.5, rng, centre=True)
    assert abs(z_scores(entries[:, 0, 1])) > 10
    assert abs(z_scores(entries[:, 0, 2])) < Z_MOST  # the third direction keeps its symmetry
    gaussian = rng.standard_normal(x.shape) * [2.0, 1.0, 0.0]
    entries = average_projection(gaussian, 0.5, rng, centre=True)
    assert abs(z_scores(entries[:, 0, 1])) < Z_MOST


def test_a_mean_left_in_the_covariance_breaks_the_diagonal(rng):
    x = rng.standard_normal((4000, 10, 3)) * [2.0, 1.0, 0.0] + [1.0, 1.0, 0.0]
    assert abs(z_scores(average_projection(x, 0.5, rng, centre=False)[:, 0, 1])) > 10
    assert abs(z_scores(average_projection(x, 0.5, rng, centre=True)[:, 0, 1])) < Z_MOST


@pytest.mark.parametrize("noise", ["fresh", "cumulative", "frozen"])
def test_given_the_images_the_average_is_diagonal_in_their_own_components(noise, rng):
    x = digits()[0][:60]
    own = Gaussian.fit(x, 5).basis
    draws = []
    for _ in range(300):
        chain = projection_chain(noisy_pca(x, [0.4, 0.2, 0.1], 4, noise=noise, rng=rng).basis)
        draws.append(np.exp(chain.log_norm) * chain.matrix(own))
    assert np.abs(z_scores(off_diagonal(np.array(draws)))).max() < Z_MOST
    # in other directions it is not: the test sees an entry off the diagonal
    turn = np.eye(5)
    turn[np.ix_([0, 4], [0, 4])] = np.array([[1, 1], [-1, 1]]) / np.sqrt(2)  # kept and not kept
    turned = turn @ np.array(draws) @ turn.T
    assert np.abs(z_scores(turned[:, 0, 4])) > 10


# ---------------------------------------------------------------- Theorem B


def ratio_of_modes(lam, sigmas, gamma):
    diagonal = chain_limits(lam, sigmas, gamma).diagonal
    return diagonal[1] / diagonal[0]


def test_the_ratio_of_modes_is_that_of_drawn_chains(rng):
    lam, sigmas = np.array([4.0, 2.0]), [0.6, 0.5, 0.4, 0.3]
    drawn = draw_chain(20_000, 20_000, lam, sigmas, 300, rng=rng)
    entries = np.exp(drawn.log_norm)[:, None] * np.diagonal(drawn.matrix(), axis1=1, axis2=2)
    mean, error = entries.mean(axis=0), entries.std(axis=0) / np.sqrt(300)
    ratio = mean[1] / mean[0]
    spread = ratio * np.hypot(*(error / mean))
    assert abs(ratio - ratio_of_modes(lam, sigmas, 1.0)) < 4 * spread + 1e-3  # 1e-3: finite size


def test_the_clock_of_small_noise_is_the_sum_of_variances():
    lam, gamma = np.array([4.0, 2.0]), 0.5
    sigmas = np.linspace(0.08, 0.04, 50)
    exponent = gamma * (1 / lam[1] - 1 / lam[0]) * (sigmas**2).sum()
    # the next order of log c^2 is sigma^4: its share here is below one per cent
    assert np.isclose(-np.log(ratio_of_modes(lam, sigmas, gamma)), exponent, rtol=0.01)


def test_both_branches_of_the_condition_for_concentration():
    lam, gamma = np.array([4.0, 2.0]), 1.0
    summable = 0.5 / np.arange(1, 20_000.0)
    divergent = 0.5 / np.sqrt(np.arange(1, 20_000.0))
    assert ratio_of_modes(lam, summable, gamma) > 0.5
    assert ratio_of_modes(lam, divergent, gamma) < ratio_of_modes(lam, divergent[:2000], gamma)
    limit = -np.log(ratio_of_modes(lam, divergent, gamma)) / (divergent**2).sum()
    assert np.isclose(limit, 0.25, rtol=0.05)  # so it falls without end, like the sum's exponential
    # one level at or above the second emergence level is enough
    edge = emergence_sigma(lam[1], gamma)
    assert ratio_of_modes(lam, [1.001 * edge, 0.1], gamma) == 0
    assert ratio_of_modes(lam, [0.9 * edge, 0.1], gamma) > 0


def test_a_single_run_ends_at_the_last_estimate_not_at_the_true_direction(rng):
    lam, sigmas, dim = np.array([4.0, 2.0]), np.full(60, 1.0) - np.arange(60) * 1e-9, 3000
    drawn = draw_chain(dim, dim, lam, sigmas, 20, rng=rng)
    assert drawn.singular_values[:, 1].max() < 1e-3  # rank one
    matrix = drawn.matrix()
    overlap = (matrix**2).sum(axis=2)[:, 0]  # of the left singular vector with u_1, times c^2
    assert np.isclose(overlap.mean(), alignment_limit(4.0, 1.0, 1.0) ** 2, atol=0.03)


# ---------------------------------------------------------------- the three regimes


def test_check_values_of_the_regimes():
    lam, v = np.array([20.0, 10.0, 5.0]), 2.0
    sigmas = np.sqrt(v * np.arange(4, 0, -1) / 4)
    fresh = chain_limits(lam, sigmas, 1.0)
    np.testing.assert_allclose(fresh.singular_values, [0.823, 0.667, 0.412], atol=5e-4)
    cumulative = chain_limits(lam, sigmas, 1.0, noise="cumulative")
    np.testing.assert_allclose(cumulative.singular_values, [0.961, 0.918, 0.816], atol=5e-4)


@pytest.mark.parametrize("noise", ["fresh", "cumulative", "frozen"])
def test_limits_of_every_regime_are_those_of_a_simulation(noise, rng):
    lam, dim, sigmas = np.array([20.0, 10.0, 5.0]), 300, np.sqrt([2.0, 1.5, 1.0, 0.5])
    limits = chain_limits(lam, sigmas, 1.0, noise=noise)
    values, entries = [], []
    for _ in range(30):
        x = np.zeros((dim, dim))
        # exactly isotropic factors: with shared images the limit is that of each run
        x[:, :3] = np.sqrt(dim * lam) * np.linalg.qr(rng.standard_normal((dim, 3)))[0]
        chain = projection_chain(noisy_pca(x, sigmas, 3, noise=noise, rng=rng).basis)
        norm = np.exp(chain.log_norm)
        values.append(norm * chain.singular_values)
        entries.append(norm * np.diagonal(chain.matrix(np.eye(dim)[:3])))
    # finite size: 1/d in the mean times constants of a few; standard errors are below .004
    np.testing.assert_allclose(np.mean(values, axis=0), limits.singular_values, atol=0.02)
    np.testing.assert_allclose(np.mean(entries, axis=0), limits.diagonal, atol=0.02)


def test_frozen_noise_becomes_an_isometry_as_the_grid_is_refined():
    lam, gamma = [4.0, 2.0], 1.0
    lost = []
    for levels in (5, 10, 20, 40):
        value = chain_limits(lam, np.geomspace(1.0, 0.2, levels), gamma, noise="frozen")
        lost.append(1 - value.singular_values)
    rates = np.array(lost[:-1]) / np.array(lost[1:])
    np.testing.assert_allclose(rates[-1], 39 / 19, rtol=0.05)  # error ~ 1 / number of steps
    ends = np.sqrt(alignment_limit(lam, 1.0, gamma) * alignment_limit(lam, 0.2, gamma))
    np.testing.assert_allclose(value.diagonal, ends * value.singular_values, rtol=1e-12)


def test_cumulative_chains_are_worth_one_projection_on_any_grid(rng):
    lam = [4.0, 2.0]
    for levels in (2, 3, 17):
        sigmas = np.sort(np.append(rng.uniform(0.3, 1.0, levels - 1), 1.1))[::-1]
        diagonal = chain_limits(lam, sigmas, 1.0, noise="cumulative").diagonal
        np.testing.assert_allclose(diagonal, alignment_limit(lam, 1.1, 1.0), rtol=1e-12)


def test_two_readings_of_the_schedule_of_increments():
    lam, gamma = np.array([2.0, 0.8]), 1.0
    t = np.arange(4000, 0, -1)
    as_deviation = ratio_of_modes(lam, np.sqrt(t) / 4000, gamma)
    assert np.isclose(as_deviation, np.exp(-gamma / 2 * (1 / 0.8 - 1 / 2)), atol=1e-3)
    assert np.isclose(as_deviation, 0.687, atol=1e-3)
    as_variance = [
        ratio_of_modes(lam, np.sqrt(np.arange(n, 0, -1) / n / 2), gamma) for n in (9, 99)
    ]
    assert as_variance[1] < 1e-6 < as_variance[0]


# ---------------------------------------------------------------- noise between projections


def variance_left(chain):
    """Diagonal of P_t P_t' in the true directions: what noise injected before P_t leaves."""
    parts = np.swapaxes(chain.left, -1, -2) @ chain.core  # the right factor has orthonormal rows
    return np.exp(2 * chain.log_norm)[..., None] * (parts**2).sum(axis=-1)


def test_oracle_projections_leave_every_signal_mode_the_same_variance():
    chain = projection_chain(np.stack([np.eye(5)[:3]] * 4))
    np.testing.assert_allclose(variance_left(chain), [1, 1, 1, 0, 0], atol=1e-15)


def test_noise_injected_between_estimated_projections_has_the_direct_law(rng):
    lam, sigmas = np.array([4.0, 1.0]), [1.0, 0.7, 0.4]
    drawn = variance_left(draw_chain(12, 30, lam, sigmas, 600, rng=rng))
    direct = np.array([variance_left(c)[:2] for c in direct_chains(12, 30, lam, sigmas, 600, rng)])
    for i in range(2):
        assert ks_2samp(drawn[:, i], direct[:, i]).pvalue > LEVEL


def test_re_injected_noise_flattens_the_spectrum_as_samples_grow(rng):
    lam, sigmas = np.array([20.0, 10.0, 5.0]), np.sqrt([2.0, 1.5, 1.0, 0.5])
    gaps = []
    for n in (10**5, 10**6, 10**7):
        found = variance_left(draw_chain(10**5, n, lam, sigmas, 10, rng=rng)).mean(axis=0)
        c2 = np.array([alignment_limit(lam, s, 10**5 / n) for s in sigmas])
        limit = (c2**2).prod(axis=0) / c2[0]  # every level twice, the first of all once
        # at this size draws and limit differ by less than 1e-3 (standard error and finite size)
        np.testing.assert_allclose(found, limit, atol=2e-3)
        gaps.append(1 - limit)
    assert (np.diff(gaps[0]) > 0).all()  # what is left of the spectrum is the order of the errors
    rates = gaps[1] / gaps[2]
    np.testing.assert_allclose(rates, 10, rtol=0.15)  # of order 1/N, next order 1/N^2


# ---------------------------------------------------------------- overlaps


@pytest.mark.parametrize("correlation", [-1.0, -0.4, 0.0, 0.3, 0.5, 0.8, 1.0])
def test_overlap_of_two_estimates_depends_on_the_noise_they_share(correlation, rng):
    n, gamma, lam, sigma, other, runs = 800, 0.5, 4.0, 0.8, 1.6, 12
    dim, seen = int(gamma * n), []
    for _ in range(runs):
        x = np.zeros((n, dim))
        x[:, 0] = np.sqrt(lam) * rng.standard_normal(n)
        z, w = rng.standard_normal((2, n, dim))
        w = correlation * z + np.sqrt(1 - correlation**2) * w
        u, v = (leading(y.T @ y, 1)[0] for y in (x + sigma * z, x + other * w))
        seen.append(u @ v * np.sign(u[0] * v[0]))
    limit = overlap_limit(lam, sigma, other, gamma, covariance=correlation * sigma * other)
    error = np.std(seen) / np.sqrt(runs)
    assert abs(np.mean(seen) - limit) < 4 * error + 0.005  # 0.005: finite size, of order 1/n


def test_overlap_with_itself_is_one():
    np.testing.assert_allclose(overlap_limit([4.0, 2.0], 0.9, 0.9, 0.5, covariance=0.81), 1.0)


def test_a_shared_level_divides_by_its_own_alignment():
    ends = alignment_limit(4.0, [0.8, 1.6], 0.5)
    limit = overlap_limit(4.0, 0.8, 1.6, 0.5, covariance=[0.0, 0.5, 1.28])
    shared = np.array([1.0, *alignment_limit(4.0, np.sqrt([0.5, 1.28]), 0.5)])
    np.testing.assert_allclose(limit, np.sqrt(ends.prod()) / shared, rtol=1e-12)


def test_a_lost_direction_overlaps_with_nothing():
    assert overlap_limit(1.0, 2.0, 0.1, 1.0, covariance=0.0) == 0
    assert not chain_limits([1.0], [2.0, 0.1], 1.0, noise="frozen").singular_values


# ---------------------------------------------------------------- clocks


def test_clocks_of_samplers_add_and_match_the_closed_forms():
    lam = np.array([20.0, 5.0, 1.0])
    denoiser = LinearDenoiser(Gaussian(np.zeros(3), lam, np.eye(3)))
    sigmas = geometric(5, 0.1, 10.0)
    steps = np.array([clock(wiener(lam, s), lam) for s in sigmas[:-1]])
    np.testing.assert_allclose(
        sampler_clock(denoiser, sigmas, step=redenoise)[1:], np.cumsum(steps, axis=0), rtol=1e-12
    )


def test_the_clock_of_ddim_dips_below_one_half_of_the_wiener_step_and_returns():
    lam = np.array([20.0, 5.0, 1.0])
    denoiser = LinearDenoiser(Gaussian(np.zeros(3), lam, np.eye(3)))
    one_step = clock(wiener(lam, 80.0), lam)[0]
    expected = {1: 0.998, 2: 0.981, 3: 0.261, 4: 0.395, 6: 0.493}
    for n, value in expected.items():
        sigmas = np.append(np.geomspace(80.0, 0.002, n), 0.0) if n > 1 else np.array([80.0, 0.0])
        worth = sampler_clock(denoiser, sigmas, step=ddim)[-1, 0]
        assert np.isclose(worth, value, atol=6e-4)
        assert worth <= one_step * (1 + 1e-12)
    uniform = [sampler_clock(denoiser, np.linspace(80.0, 0.0, n + 1))[-1, 0] for n in range(1, 60)]
    assert (np.diff(uniform) < 0).all()
    fine = sampler_clock(denoiser, np.append(np.geomspace(80.0, 0.002, 4000), 0.0))[-1, 0]
    assert np.isclose(fine, one_step / 2, atol=1e-3)


def test_operator_clock_reads_any_form_of_a_map(rng):
    rotation = np.linalg.qr(rng.standard_normal((4, 4)))[0]
    lam = np.array([9.0, 4.0, 2.0, 1.0])
    power = (rotation.T * lam**1.5) @ rotation
    np.testing.assert_allclose(operator_clock(power, lam, rotation), 1.5, rtol=1e-10)
    np.testing.assert_allclose(operator_clock(lambda v: v @ power, lam, rotation), 1.5, rtol=1e-10)
    skew = rng.standard_normal((4, 4))
    np.testing.assert_allclose(
        operator_clock(power + skew - skew.T, lam, rotation), 1.5, rtol=1e-10
    )


# ---------------------------------------------------------------- bad input


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda r: projection_chain(np.eye(2)), "bases has shape"),
        (lambda r: projection_chain(np.empty((0, 1, 2))), "number of levels is 0"),
        (lambda r: projection_chain(np.ones((2, 3, 2))), "rank is 3"),
        (lambda r: projection_chain(np.ones((2, 1, 2))), "orthonormal up to 1"),
        (lambda r: projection_chain([np.eye(2)]).matrix(np.eye(3)), "row of basis"),
        (lambda r: draw_chain(3, 9, [2.0, 1.0], [1.0, 0.5], 1, rng=r), "dim is 3"),
        (lambda r: draw_chain(9, 9, [1.0, 2.0], [1.0, 0.5], 1, rng=r), "expected descending"),
        (lambda r: draw_chain(9, 9, [2.0], [0.5, 1.0], 1, rng=r), "strictly decreasing"),
        (lambda r: draw_chain(9, 9, [2.0], [1.0, 0.0], 1, rng=r), "sigma is 0.0"),
        (lambda r: chain_limits([2.0], [1.0, 0.5], 1.0, noise="pink"), "noise is 'pink'"),
        (lambda r: chain_limits([1.0, 2.0], [1.0, 0.5], 1.0), "expected descending"),
        (lambda r: chain_limits([2.0], [1.0, 0.0], 1.0), "expected finite numbers > 0"),
        (lambda r: overlap_limit(2.0, 1.0, 0.5, 1.0, covariance=0.6), "covariance is 0.6"),
        (lambda r: overlap_limit(2.0, 1.0, 0.5, 1.0, covariance=-0.6), "covariance is -0.6"),
        (lambda r: overlap_limit(2.0, 1.0, 0.5, 1.0, covariance=np.nan), "covariance is nan"),
        (lambda r: sampler_clock(lambda y, s: y, [1.0, 0.0]), "without gains"),
        (
            lambda r: sampler_clock(LinearDenoiser.fit(np.eye(400)), [1.0, 0.0]),
            "^1 of 400 eigenvalues are 0; .* fit the model with rank=399 or less$",
        ),
        (
            lambda r: overlap_limit(2.0, 1.0, 0.5, 1.0, covariance=np.ones(900)),
            r"covariance is of type ndarray and shape \(900,\); expected at most 0.5 in size",
        ),
        (lambda r: overlap_limit(2.0, 1.0, 0.5, 1.0, covariance=1j), "covariance .* complex"),
        (lambda r: operator_clock(-np.eye(2), [2.0, 1.0], np.eye(2)), "expected positive"),
    ],
)
def test_bad_input_is_named(call, message, rng):
    with pytest.raises(ValueError, match=message):
        call(rng)


def test_without_signal_two_estimates_are_independent_directions(rng):
    drawn = draw_chain(2, 5, [1e-12], [1.0, 0.5], 8000, rng=rng)
    # cos^2 of a uniform angle has mean 1/2 and variance 1/8
    assert abs(np.exp(2 * drawn.log_norm).mean() - 1 / 2) < 4 * np.sqrt(1 / 8 / 8000)


def test_estimates_in_few_dimensions_share_what_is_left_as_a_random_rotation_does(rng):
    drawn = draw_chain(4, 9, [1e-12, 1e-12], [1.0, 0.5], 4000, rng=rng)
    size = (np.exp(drawn.log_norm)[:, None] * drawn.singular_values) ** 2
    # two random planes in four dimensions: the squared cosines sum to 2 * 2 / 4 on average
    assert abs(size.sum(axis=1).mean() - 1) < 4 * size.sum(axis=1).std() / 4000**0.5
