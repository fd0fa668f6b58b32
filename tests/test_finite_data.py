"""What a denoiser learnt from N samples costs: closed forms against simulation."""

import itertools

import numpy as np
import pytest
from scipy.stats import ks_2samp

from lindiff.denoisers import wiener
from lindiff.finite_data import (
    denoiser_risk,
    effective_noise,
    gaussian_fit_kl,
    generated_variance,
    infinite_draw_risk,
    least_squares_denoiser,
    single_draw_risk,
)
from lindiff.gaussian import Gaussian, kl_divergence
from lindiff.schedules import geometric
from lindiff.spiked import spike_from_eigenvalue

D, N, SIGMA = 120, 180, np.sqrt(0.3)
LAM = 1 / np.arange(1.0, D + 1)
LAM *= D / LAM.sum()
LAW = Gaussian(np.zeros(D), LAM, np.eye(D))
BEST = (SIGMA**2 * wiener(LAM, SIGMA)).sum()


@pytest.mark.parametrize("n", [10, 120, 1000])
@pytest.mark.parametrize("sigma", [0.01, 0.5, 5.0])
def test_effective_noise_solves_its_equation_within_its_bracket(n, sigma):
    kappa = effective_noise(LAM, sigma, n)
    assert kappa == pytest.approx(sigma**2 + kappa / n * (LAM / (LAM + kappa)).sum(), rel=1e-10)
    assert sigma**2 <= kappa <= sigma**2 + LAM.sum() / n


def test_effective_noise_at_the_ends():
    assert effective_noise(LAM, 0.0, D) == 0.0
    assert effective_noise(LAM, 0.0, D // 2) > 0.0  # too few samples act like noise
    assert effective_noise([], 0.5, 10) == 0.25
    assert effective_noise([0.0, 0.0], 0.5, 10) == 0.25
    assert effective_noise(LAM, 0.5, 10**9) == pytest.approx(0.25, rel=1e-6)


def test_the_mean_of_the_fitted_denoiser_is_wiener_at_the_effective_noise(rng):
    runs = [
        least_squares_denoiser(LAW.sample(N, rng=rng), SIGMA, np.inf, rng=rng) for _ in range(60)
    ]
    gains = np.array([np.diag(a) for a in runs])
    predicted = LAM / (LAM + effective_noise(LAM, SIGMA, N))
    error = gains.std(axis=0) / np.sqrt(60)
    # deterministic equivalents hold up to 1/N
    assert (np.abs(gains.mean(axis=0) - predicted) < 4.5 * error + 1 / N).all()


@pytest.mark.parametrize(
    ("draws", "published"), [(1, 64.8), (2, 35.7), (4, 30.0), (16, 27.1), (np.inf, 26.35)]
)
def test_the_risk_falls_with_the_noise_draws_per_sample(draws, published, rng):
    risks = [
        denoiser_risk(
            LAW, least_squares_denoiser(LAW.sample(N, rng=rng), SIGMA, draws, rng=rng), SIGMA
        )
        for _ in range(40)
    ]
    error = np.std(risks) / np.sqrt(40)
    assert abs(np.mean(risks) - published) < 4 * error + 0.05  # the digits published


def test_closed_forms_of_the_risk_have_the_published_values():
    assert pytest.approx(21.36, abs=5e-3) == BEST
    assert infinite_draw_risk(LAM, SIGMA, N) == pytest.approx(26.30, abs=5e-3)
    assert single_draw_risk(LAM, SIGMA, N) == pytest.approx(BEST * (N - 1) / (N - D - 1), rel=1e-12)
    assert single_draw_risk(LAM, SIGMA, N) == pytest.approx(64.8, abs=0.05)


def test_one_draw_has_no_mean_error_next_to_as_many_samples_as_dimensions():
    risks = [single_draw_risk(LAM, SIGMA, D + k) for k in range(-2, 3)]
    assert np.isfinite(risks).tolist() == [True, False, False, False, True]


@pytest.mark.parametrize("n", [1, 50, 150, 190])
def test_one_draw_of_white_data_with_few_samples_against_the_exact_mean(n):
    d, sigma = 200, 0.5
    best, gain = sigma**2 * d / (1 + sigma**2), 1 / (1 + sigma**2)
    # a least-norm fit answers on a uniformly random subspace, of dimension n
    missed = gain**2 * (1 + sigma**2) * (d - n)
    exact = missed + best * (1 + n / (d - n - 1))
    limit = missed + best * (1 + n / (d - n))
    found = single_draw_risk(np.ones(d), sigma, n)
    assert found == pytest.approx(limit, rel=1e-10)
    assert 0 < 1 - found / exact < 1 / (d - n)


@pytest.mark.parametrize("n", [20, 60, 90])
def test_one_draw_with_few_samples_costs_what_its_formula_says(n, rng):
    risks = []
    for _ in range(100):
        x = LAW.sample(n, rng=rng)
        noisy = x + SIGMA * rng.standard_normal(x.shape)
        risks.append(denoiser_risk(LAW, np.linalg.lstsq(noisy, x, rcond=None)[0].T, SIGMA))
    error = np.std(risks) / 10
    ratio = np.mean(risks) / single_draw_risk(LAM, SIGMA, n)
    assert abs(ratio - 1) < 4.5 * error / np.mean(risks) + 1.2 / (D - n)  # its own order


def test_the_risk_tends_to_wiener_s_with_more_samples():
    risks = [infinite_draw_risk(LAM, SIGMA, n) for n in (100, 1000, 10**4, 10**7)]
    assert (np.diff(risks) < 0).all()
    assert risks[-1] == pytest.approx(BEST, rel=1e-5)


@pytest.mark.parametrize(("n", "draws"), [(12, 1), (12, 3), (3, 4)])
def test_least_squares_has_the_law_of_a_regression_on_noisy_copies(n, draws, rng):
    d, sigma, runs = 4, 0.6, 400
    x = rng.standard_normal((n, d)) * [2.0, 1.0, 0.5, 0.0]
    copies = np.tile(x, (draws, 1))
    drawn, direct = [], []
    for _ in range(runs):
        drawn.append(least_squares_denoiser(x, sigma, draws, rng=rng))
        noisy = copies + sigma * rng.standard_normal(copies.shape)
        direct.append(np.linalg.lstsq(noisy, copies, rcond=None)[0].T)
    for entry in ((0, 0), (0, 1), (2, 2), (1, 3)):
        pair = [np.array(a)[:, entry[0], entry[1]] for a in (drawn, direct)]
        assert ks_2samp(*pair).pvalue > 5e-6


def test_infinitely_many_draws_give_ridge_regression(rng):
    x = rng.standard_normal((30, 5))
    clean = x.T @ x / 30
    expected = clean @ np.linalg.inv(clean + 0.49 * np.eye(5))
    found = least_squares_denoiser(x, 0.7, np.inf, rng=rng)
    np.testing.assert_allclose(found, expected, atol=1e-12)


def test_the_risk_of_a_matrix_is_what_it_costs_on_samples(rng):
    law = Gaussian(np.zeros(3), [2.0, 1.0], np.eye(3)[:2])
    a = rng.standard_normal((3, 3)) / 3
    x = law.sample(100_000, rng=rng)
    error = (((x + 0.5 * rng.standard_normal(x.shape)) @ a.T - x) ** 2).sum(axis=1)
    assert abs(error.mean() - denoiser_risk(law, a, 0.5)) < 4 * error.std() / np.sqrt(len(error))
    w = np.diag([2 / 2.25, 1 / 1.25, 0])
    assert denoiser_risk(law, w, 0.5) == pytest.approx(0.25 * np.trace(w), rel=1e-12)


@pytest.mark.parametrize("gamma", [0.2, 1.0, 4.0])
def test_bases_learnt_afresh_generate_the_same_share_of_every_mode(gamma):
    spikes = np.array([5.0, 1.0, 0.01])
    end = generated_variance(spikes, geometric(3000, 2e-4, 50.0), gamma)[-1]
    np.testing.assert_allclose(end / spikes, (1 + np.sqrt(gamma)) ** -2, rtol=0.01)


def test_a_direction_that_is_lost_keeps_the_noise_of_its_level():
    sigmas = [3.0, 2.0, 1.5]
    found = generated_variance([0.1, 0.0], sigmas, 1.0)
    np.testing.assert_allclose(found, np.square(sigmas)[:, None] * [1, 1], rtol=1e-14)


def test_bases_learnt_afresh_generate_what_their_recursion_says(rng):
    spikes, sigmas, n, d = np.array([4.0, 1.5]), np.array([1.6, 0.9, 0.4, 0.0]), 1000, 500
    kept = []
    for _ in range(24):
        images = rng.standard_normal((n, 2)) * np.sqrt(spikes)
        rows = np.eye(d)[:2]
        along = [sigmas[0] ** 2 * np.ones(2)]
        steps = []
        for sigma, lower in itertools.pairwise(sigmas):
            y = sigma * rng.standard_normal((n, d))
            y[:, :2] += images
            values, vectors = np.linalg.eigh(y.T @ y / n)
            found = spike_from_eigenvalue(values[:-3:-1], sigma, d / n)
            basis, gain = vectors[:, :-3:-1].T, wiener(found, sigma)
            steps.append((lower / sigma, gain, basis))
            rows = np.eye(d)[:2]
            for a, g, u in steps[::-1]:  # symmetric maps: pull the true directions back
                rows = a * rows + (1 - a) * (rows @ u.T * g) @ u
            along.append(sigmas[0] ** 2 * (rows**2).sum(axis=1))
        kept.append(along)
    law = generated_variance(spikes, sigmas, d / n)
    error = 4.5 * np.std(kept, axis=0) / np.sqrt(24)
    assert (np.abs(np.mean(kept, axis=0) - law) < error + 4 * law / n).all()


def test_divergences_of_a_gaussian_fit(rng):
    d, n, runs = 5, 30, 1500
    law = Gaussian(np.zeros(d), np.arange(d, 0, -1.0), np.eye(d))
    pairs = []
    for _ in range(runs):
        x = law.sample(n, rng=rng)
        values, vectors = np.linalg.eigh(x.T @ x / n)
        fit = Gaussian(np.zeros(d), values[::-1], vectors[:, ::-1].T)
        pairs.append([kl_divergence(law, fit), kl_divergence(fit, law)])
    error = np.std(pairs, axis=0) / np.sqrt(runs)
    assert (np.abs(np.mean(pairs, axis=0) - gaussian_fit_kl(d, n)) < 4 * error).all()


def test_divergences_tend_to_a_quarter_of_d_squared_over_n():
    for kl in gaussian_fit_kl(50, 10**6):
        assert kl == pytest.approx(50 * 51 / (4 * 10**6), rel=1e-3)
    assert gaussian_fit_kl(5, 6)[0] == np.inf


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda r: effective_noise([1.0], -1.0, 5), "sigma is -1.0"),
        (lambda r: effective_noise([1.0], 1.0, 0), "n_samples is 0"),
        (lambda r: effective_noise([1.0, 2.0], 1.0, 5), "descending"),
        (lambda r: infinite_draw_risk([1.0], 0.0, 5), "sigma is 0.0"),
        (lambda r: single_draw_risk([1.0, 1.0], 1.0, 0), "n_samples is 0"),
        (lambda r: least_squares_denoiser(np.ones((3, 7)), 1.0, 2, rng=r), "3 x 2 noisy samples"),
        (lambda r: least_squares_denoiser(np.ones((3, 2)), 1.0, 1.5, rng=r), "draws is 1.5"),
        (lambda r: least_squares_denoiser(np.ones((3, 2)), 0.0, 1, rng=r), "sigma is 0.0"),
        (lambda r: denoiser_risk(LAW, np.eye(3), 1.0), "matrix has shape"),
        (lambda r: denoiser_risk(np.eye(3), np.eye(3), 1.0), "model is .*; expected a Gaussian"),
        (lambda r: denoiser_risk(LAW, np.eye(LAW.dim), -1.0), "sigma is -1.0"),
        (lambda r: gaussian_fit_kl(5, 4), "n_samples is 4"),
        (lambda r: generated_variance(1.0, [2.0, 1.0], 1.0), "spikes has shape"),
        (lambda r: generated_variance([-1.0], [2.0, 1.0], 1.0), "spikes contains -1.0"),
        (lambda r: generated_variance([1.0], [1.0, 2.0], 1.0), "strictly decreasing"),
        (lambda r: generated_variance([1.0], [2.0, 1.0], 0.0), "gamma contains 0.0"),
    ],
)
def test_bad_input_is_named(call, message, rng):
    with pytest.raises(ValueError, match=message):
        call(rng)
