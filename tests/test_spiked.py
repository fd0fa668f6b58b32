"""The limits of the spiked model: their values, their inverse, their edge, and the exact draws."""

import numpy as np
import pytest

from lindiff.draws import draw_alignment
from lindiff.spiked import (
    alignment_limit,
    eigenvalue_limit,
    emergence_sigma,
    general_limits,
    information_plus_noise_limits,
    mixing,
    shrink,
    spike_from_eigenvalue,
    subspace_limit,
)

ASPECTS = [1e-3, 0.5, 1.0, 4.0, 1e3]


@pytest.mark.parametrize("gamma", ASPECTS)
@pytest.mark.parametrize("relative", [1.5, 4.0])
def test_limits_are_those_of_a_million_dimensions(gamma, relative, rng):
    n = round(1e6 / max(gamma, 1.0))
    dim = round(gamma * n)
    spike = relative * np.sqrt(dim / n)
    draws = draw_alignment(dim, n, spike, 1.0, 40, rng=rng)
    for drawn, limit in (
        (draws.eigenvalues[:, 0], eigenvalue_limit(spike, 1.0, dim / n)),
        (draws.squared_cosines[:, 0, 0], alignment_limit(spike, 1.0, dim / n)),
    ):
        # fluctuations of order 1/sqrt(min(d, N)), and a bias of the order of their square
        error = drawn.std() / np.sqrt(len(drawn))
        assert abs(drawn.mean() - limit) < 4 * error + 5 * limit / min(dim, n)


def test_a_spike_below_the_edge_is_lost_in_the_bulk(rng):
    draws = draw_alignment(10**6, 10**6, 0.5, 1.0, 20, rng=rng)
    assert draws.squared_cosines.max() < 1e-3
    assert abs(draws.eigenvalues.mean() - eigenvalue_limit(0.5, 1.0, 1.0)) < 1e-3


@pytest.mark.parametrize("gamma", ASPECTS)
def test_the_transition_is_continuous_and_the_alignment_rises_from_zero(gamma):
    ell = np.sqrt(gamma) * np.array([1 - 1e-6, 1.0, 1 + 1e-6, 1.1, 2.0, 10.0])
    c2 = alignment_limit(ell, 1.0, gamma)
    assert c2[0] == 0 and c2[1] < 1e-15 and 0 < c2[2] < 1e-5
    assert (np.diff(c2[2:]) > 0).all() and c2[-1] < 1
    value = eigenvalue_limit(ell, 1.0, gamma)
    assert value[:2] == pytest.approx((1 + np.sqrt(gamma)) ** 2, rel=1e-12)
    assert (np.diff(value[1:]) > 0).all()


@pytest.mark.parametrize("gamma", ASPECTS)
def test_the_spike_is_recovered_from_its_eigenvalue(gamma):
    spikes = np.sqrt(gamma) * np.array([1.001, 1.5, 4.0, 100.0]) * 0.49
    found = spike_from_eigenvalue(eigenvalue_limit(spikes, 0.7, gamma), 0.7, gamma)
    np.testing.assert_allclose(found, spikes, rtol=1e-6)
    assert spike_from_eigenvalue(0.49 * (1 + np.sqrt(gamma)) ** 2 * 0.999, 0.7, gamma) == 0


def test_the_direction_emerges_exactly_at_its_level():
    star = emergence_sigma(3.0, 0.25)
    assert star**2 == pytest.approx(3.0 / 0.5, rel=1e-14)
    assert alignment_limit(3.0, 0.999 * star, 0.25) > 0
    assert alignment_limit(3.0, 1.001 * star, 0.25) == 0


def test_the_eigenvalue_at_the_edge_of_the_bulk_belongs_to_the_spike_at_its_threshold():
    # numbers without rounding: gamma 1/4 and variance 4, so that the spike is 2 and the edge 9
    assert eigenvalue_limit(2.0, 2.0, 0.25) == 9
    assert spike_from_eigenvalue(9.0, 2.0, 0.25) == 2
    assert spike_from_eigenvalue(np.nextafter(9.0, 0), 2.0, 0.25) == 0


def test_small_noise_expansion_of_the_alignment():
    spike, gamma, variance = 2.0, 0.8, 1e-3
    x = variance / spike
    series = -gamma * x + gamma * (gamma / 2 - 1) * x**2
    logarithm = np.log(alignment_limit(spike, np.sqrt(variance), gamma))
    assert abs(logarithm - series) < 10 * x**3


def test_the_shrinkage_minimises_the_error_along_an_estimated_direction():
    spike, sigma, gamma = 4.0, 1.3, 0.7
    c2 = alignment_limit(spike, sigma, gamma)

    def error(eta):
        return spike - 2 * eta * spike * c2 + eta**2 * (spike * c2 + sigma**2)

    best = shrink(spike, sigma, gamma)
    assert error(best) < min(error(best + 1e-3), error(best - 1e-3))
    assert best < spike / (spike + sigma**2)


@pytest.mark.parametrize("gamma", [0.25, 1.0, 4.0])
def test_projection_is_worse_than_zero_before_the_direction_is_lost(gamma):
    edge = (np.sqrt(1 + 8 * gamma) - 1) / (4 * gamma)  # of sigma^2 / lambda
    assert edge < gamma**-0.5
    for factor, worse in ((0.999, False), (1.001, True)):
        variance = factor * edge
        c2 = alignment_limit(1.0, np.sqrt(variance), gamma)
        assert (1 - 2 * c2 + c2 + variance > 1) == worse


@pytest.mark.parametrize(
    ("dim", "variance", "measured", "error"),
    [
        (400, 0.1, [0.9623, 0.9313, 0.9107, 0.8928], 0.001),
        (400, 6.0, [0.841, 0.688, 0.361, 0.041], 0.008),
    ],
)
def test_several_spikes_have_the_published_alignments(dim, variance, measured, error, rng):
    n = 100 if variance < 1 else 400
    draws = draw_alignment(dim, n, [40.0, 20.0, 10.0, 5.0], np.sqrt(variance), 300, rng=rng)
    c2 = draws.squared_cosines[:, np.arange(4), np.arange(4)]
    own = c2.std(axis=0) / np.sqrt(300)
    assert (np.abs(c2.mean(axis=0) - measured) < 4 * np.hypot(own, error)).all()


def test_general_limits_agree_with_the_spiked_ones_for_one_spike():
    n, d = 4000, 2000
    spectrum = np.append(3.0, np.zeros(d - 1))
    values, c2 = general_limits(spectrum, 1.0, n)
    assert values[0] == pytest.approx(eigenvalue_limit(3.0, 1.0, d / n), rel=2 / d)
    assert c2[0] == pytest.approx(alignment_limit(3.0, 1.0, d / n), rel=2 / d)
    assert (c2[1:] == 0).all()


def test_general_limits_without_noise_leave_out_the_zeros_of_the_spectrum():
    values, c2 = general_limits([3.0, 1.0, 0.0, 0.0], 0.0, 100)
    np.testing.assert_allclose(values, [3 * (1 + 0.5 / 100), 1 - 1.5 / 100, 0, 0], rtol=1e-12)
    assert c2[0] > 0.99 and not c2[2:].any()


def test_general_limits_on_a_power_law_have_the_published_values():
    spectrum = np.arange(1.0, 401) ** -1.5
    c2 = general_limits(spectrum, np.sqrt(0.02), 400)[1][[0, 2, 5, 7]]
    np.testing.assert_allclose(c2, [0.974, 0.855, 0.528, 0.200], atol=6e-4)
    white = alignment_limit(spectrum[[0, 2, 5, 7]], np.sqrt(0.02), 1.0)
    np.testing.assert_allclose(white, [0.980, 0.896, 0.706, 0.547], atol=6e-4)


def test_a_space_of_one_direction_obeys_the_general_law():
    spectrum = np.arange(1.0, 61) ** -1.5
    for sigma, n in ((0.0, 300), (0.2, 300), (0.2, 20), (3.0, 300)):
        own = general_limits(spectrum, sigma, n)[1][0]
        assert subspace_limit(spectrum, sigma, n, 1) == pytest.approx(own, abs=1e-12)


def test_a_space_of_spikes_has_their_mean_alignment():
    spikes, d, n = np.array([6.0, 6.0, 3.0, 0.5]), 4000, 2000
    limits = alignment_limit(spikes, 1.0, d / n)
    assert limits[-1] == 0 < limits[2]
    found = subspace_limit(np.append(spikes, np.zeros(d - 4)), 1.0, n, 4)
    assert found == pytest.approx(limits.mean(), abs=2e-3)


def test_a_space_that_cuts_a_tie_loses_its_direction():
    assert subspace_limit([4.0, 1.0, 1.0], 0.1, 10**6, 2) == pytest.approx(0.5, abs=1e-3)
    assert subspace_limit([0.0, 0.0], 0.0, 10, 1) == 0


def test_the_space_of_directions_that_mix_is_found_as_its_law_says(rng):
    lam, sigma, n = np.concatenate([[4.0, 3.6, 3.3], np.arange(1.0, 98) ** -1.0]), 0.6, 400
    cosines = []
    for _ in range(60):
        y = rng.standard_normal((n, 100)) * np.sqrt(lam + sigma**2)
        found = np.linalg.eigh(y.T @ y)[1][:, -3:]
        cosines.append(found[:3] ** 2)
    space = np.sum(cosines, axis=(1, 2)) / 3
    single = np.mean(cosines, axis=0)[[0, 1, 2], [2, 1, 0]].mean()
    error = 4.5 * space.std() / np.sqrt(60)
    assert single < 0.8 < space.mean()
    # the next order is that of the square of what is lost
    assert abs(space.mean() - subspace_limit(lam, sigma, n, 3)) < error + (1 - space.mean()) ** 2


def test_fixed_samples_without_noise_are_their_own_answer():
    lam = np.array([3.0, 1.0, 0.5, 0.0])
    value, c2 = information_plus_noise_limits(lam, 0.0, 10)
    np.testing.assert_array_equal(value, lam)
    np.testing.assert_array_equal(c2, 1.0)
    assert (information_plus_noise_limits([2.0, 1.0, 1.0], 0.1, 50)[1][1:] == 0).all()


@pytest.mark.parametrize("gamma", [0.25, 1.0, 4.0])
def test_the_law_of_fixed_samples_agrees_with_the_spiked_one_for_one_spike(gamma):
    n = 4000
    d = round(gamma * n)
    value, c2 = information_plus_noise_limits(np.append(9.0, np.zeros(d - 1)), 1.5, n)
    assert value[0] == pytest.approx(eigenvalue_limit(9.0, 1.5, gamma), rel=2 / n)
    assert c2[0] == pytest.approx(alignment_limit(9.0, 1.5, gamma), rel=2 / n)


def test_little_noise_on_fixed_samples_mixes_by_its_variance_over_the_gap():
    lam, sigma, n = np.array([4.0, 2.5, 1.0, 0.2]), 0.8, 10**6
    gap = lam[:, None] - lam
    np.fill_diagonal(gap, np.inf)
    entries = sigma**2 * (lam[:, None] + lam) + sigma**4
    first = (entries / gap**2).sum(axis=1) / n
    lost = 1 - information_plus_noise_limits(lam, sigma, n)[1]
    np.testing.assert_allclose(lost, first, rtol=1e-4)


@pytest.mark.parametrize("n", [150, 600])
def test_noise_on_fixed_samples_does_what_its_law_says(n, rng):
    d, sigma = 300, 0.3
    lam = 4 * np.arange(1.0, d + 1) ** -1.2 * (np.arange(d) < n)
    x = np.zeros((n, d))
    x[range(min(n, d)), range(min(n, d))] = np.sqrt(n * lam[:n])
    value, c2 = information_plus_noise_limits(lam, sigma, n)
    seen = []
    for _ in range(40):
        y = x + sigma * rng.standard_normal((n, d))
        values, vectors = np.linalg.eigh(y.T @ y / n)
        seen.append([values[:-7:-1], vectors[range(6), range(-1, -7, -1)] ** 2])
    error = 4.5 * np.std(seen, axis=0) / np.sqrt(40)
    off = np.abs(np.mean(seen, axis=0) - [value[:6], c2[:6]])
    # the next order: the square of what is lost, relative for eigenvalues
    room = [value[:6] / n, 0.5 * (1 - c2[:6]) ** 2 + 1 / n]
    assert (off < error + room).all(), (off - error) / room


def test_mixing_is_measured_by_exact_draws(rng):
    lam, sigma, n, d = np.array([8.0, 4.0, 2.0]), 0.5, 4000, 2000
    draws = draw_alignment(d, n, lam, sigma, 200, rng=rng).squared_cosines
    predicted = mixing(lam, sigma, n, d / n)
    off = ~np.eye(3, dtype=bool)
    error = draws.std(axis=0) / np.sqrt(200)
    # leading order in 1/N: the next one is smaller by a factor of order 1/(N gap^2)
    assert (np.abs(draws.mean(axis=0) - predicted)[off] < (4 * error + 0.05 * predicted)[off]).all()


def test_mixing_of_equal_spikes_is_infinite():
    assert np.isinf(mixing([2.0, 2.0], 1.0, 100, 0.5)[0, 1])


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: alignment_limit(-1.0, 1.0, 1.0), "spike contains -1.0"),
        (lambda: alignment_limit(1.0, 0.0, 1.0), "sigma contains 0.0"),
        (lambda: alignment_limit(1.0, 1.0, [0.5, -2.0]), "gamma contains -2.0"),
        (lambda: alignment_limit(2j, 1.0, 1.0), "spike .* complex"),
        (lambda: eigenvalue_limit(np.nan, 1.0, 1.0), "spike contains nan"),
        (lambda: emergence_sigma(1.0, np.inf), "gamma contains inf"),
        (lambda: spike_from_eigenvalue(1.0, -1.0, 1.0), "sigma contains -1.0"),
        (lambda: shrink(1.0, 1.0, 0.0), "gamma contains 0.0"),
        (lambda: mixing([1.0, 2.0], 1.0, 10, 1.0), "expected descending"),
        (lambda: mixing([1.0, 0.0], 1.0, 10, 1.0), "spikes contains 0.0"),
        (lambda: mixing([2.0, 1.0], 1.0, 0, 1.0), "n_samples is 0"),
        (lambda: general_limits([1.0, -1.0], 1.0, 10), "non-negative"),
        (lambda: general_limits([1.0], 1.0, 1.5), "n_samples is 1.5"),
        (lambda: subspace_limit([1.0, 2.0], 1.0, 10, 1), "eigenvalues rises"),
        (lambda: subspace_limit([2.0, 1.0], -1.0, 10, 1), "sigma is -1.0"),
        (lambda: subspace_limit([2.0, 1.0], 1.0, 10, 2), "rank is 2"),
        (lambda: information_plus_noise_limits([1.0, -1.0], 1.0, 10), "non-negative"),
        (lambda: information_plus_noise_limits([1.0], np.nan, 10), "sigma is nan"),
        (lambda: information_plus_noise_limits([1.0], 1.0, 0), "n_samples is 0"),
    ],
)
def test_bad_input_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()
