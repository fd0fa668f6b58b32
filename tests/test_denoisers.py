"""Denoisers: optimality, Tweedie's formula in both orders, limits, array types."""

import re
from itertools import product

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import multivariate_normal
from torch.func import jvp, vjp, vmap

from lindiff.denoisers import (
    GuidedDenoiser,
    LinearDenoiser,
    gradient_flow,
    hard_threshold,
    project,
    wiener,
)
from lindiff.gaussian import Gaussian
from lindiff.mixtures import EmpiricalBayes, GaussianMixture

GAINS = {"wiener": wiener, "project": project, "hard_threshold": hard_threshold}
SIGMAS = st.floats(-8, 8).map(lambda exponent: 10.0**exponent)


def random_basis(dim, rank, seed):
    return np.linalg.qr(np.random.default_rng(seed).standard_normal((dim, dim)))[0][:rank]


def mixture(dim=2, ranks=(2, 2, 1), seed=0):
    """Components of the given ranks in general position."""
    rng = np.random.default_rng(seed)
    components = [
        Gaussian(
            2 * rng.standard_normal(dim),
            np.sort(rng.uniform(0.2, 2, rank))[::-1],
            random_basis(dim, rank, seed + k),
        )
        for k, rank in enumerate(ranks)
    ]
    weights = rng.uniform(1, 2, len(ranks))
    return GaussianMixture(weights / weights.sum(), components)


def denoisers(dim, seed=0):
    """One denoiser of each kind on a space of dimension `dim`."""
    rng = np.random.default_rng(seed)
    rank = -(-dim // 2)
    model = Gaussian(rng.standard_normal(dim), np.arange(rank, 0, -1.0), random_basis(dim, rank, 1))
    return {
        "linear": LinearDenoiser(model),
        "linear, rank 0": LinearDenoiser(Gaussian(model.mean, [], np.empty((0, dim)))),
        "mixture": mixture(dim, (dim, rank, 0), seed),
        "empirical": EmpiricalBayes(rng.standard_normal((5, dim))),
        "empirical, one sample": EmpiricalBayes(rng.standard_normal((1, dim))),
    }


KINDS = tuple(denoisers(2))


def difference_quotient(function, y, step=1e-5):
    """Jacobian of a function of rows at one point, by central differences."""
    shifts = step * np.eye(y.size)
    return ((function(y + shifts) - function(y - shifts)) / (2 * step)).T


# ---------------------------------------------------------------- gains

LAM = np.array([5.0, 2.0, 2.0, 0.5, 0.0])


def risk(gain, sigma):
    """Mean squared error per mode of a gain."""
    return (1 - gain) ** 2 * LAM + gain**2 * sigma**2


@pytest.mark.parametrize("layers", [1, 2])
def test_gradient_flow_is_the_limit_of_gradient_descent(layers):
    basis, sigma, start, time = random_basis(4, 3, seed=3), 0.7, 0.02, 1.3
    lam = np.array([3.0, 1.0, 0.2])
    model = Gaussian(np.zeros(4), lam, basis)
    clean, span = model.covariance(), basis.T @ basis
    noisy = clean + sigma**2 * np.eye(4)
    gaps = []
    for steps in (2000, 4000):
        factors = [start ** (1 / layers) * span for _ in range(layers)]
        for _ in range(steps):
            slope = np.linalg.multi_dot([np.eye(4), *factors]) @ noisy - clean
            moves = [slope] if layers == 1 else [slope @ factors[1].T, factors[0].T @ slope]
            factors = [f - time / steps * m for f, m in zip(factors, moves, strict=True)]
        trained = np.linalg.multi_dot([np.eye(4), *factors])
        exact = LinearDenoiser(model, gradient_flow(time, layers=layers, start=start))
        gaps.append(np.abs(trained - exact.matrix(sigma)).max())
    assert gaps[0] < 1e-3
    assert gaps[1] / gaps[0] == pytest.approx(0.5, abs=0.01)  # an error of first order


@pytest.mark.parametrize(("layers", "start"), [(1, 0.0), (1, 2.0), (2, 1e-6)])
def test_gradient_flow_starts_where_it_is_told_and_ends_at_wiener(layers, start):
    lam = np.append(LAM[LAM > 0], 0.0)
    begin = gradient_flow(0.0, layers=layers, start=start)(lam, 0.5)
    np.testing.assert_allclose(begin, start * (lam > 0), rtol=1e-12)
    end = gradient_flow(1e6, layers=layers, start=start)(lam, 0.5)
    np.testing.assert_allclose(end, wiener(lam, 0.5), rtol=1e-12)


@pytest.mark.parametrize("sigma", [1e-3, 0.3, 1.0, 1.5, 40.0])
def test_no_gain_has_a_smaller_risk_than_wieners(sigma):
    for gain in np.linspace(-1, 2, 301):
        assert (risk(wiener(LAM, sigma), sigma) <= risk(gain, sigma) + 1e-12).all()
    mmse = LAM * sigma**2 / (LAM + sigma**2)
    np.testing.assert_allclose(risk(wiener(LAM, sigma), sigma), mmse, atol=1e-12)


@pytest.mark.parametrize("sigma", [1e-3, 0.3, 1.0, 1.5, 40.0])
def test_the_threshold_has_the_smallest_risk_of_all_choices_of_modes(sigma):
    best = min(risk(np.array(keep), sigma).sum() for keep in product([0.0, 1.0], repeat=LAM.size))
    assert risk(hard_threshold(LAM, sigma), sigma).sum() == pytest.approx(best)


@pytest.mark.parametrize("rank", [1, 2, 3])
def test_no_projection_of_rank_r_has_a_smaller_risk_than_the_leading_modes(random_law, rank):
    model, sigma = random_law([5.0, 2.0, 1.0, 0.5]), 0.7
    leading = Gaussian(model.mean, model.eigenvalues[:rank], model.basis[:rank])

    def error(matrix):
        rest = np.eye(4) - matrix
        noise = sigma**2 * (matrix**2).sum()
        return np.trace(rest @ model.covariance() @ rest.T) + noise

    best = error(LinearDenoiser(leading, gain=project).matrix(sigma))
    frames = [random_basis(4, rank, seed) for seed in range(1000, 1200)]
    turns = [random_basis(4, 4, seed) * 0.05 for seed in range(1000, 1200)]
    near = [np.linalg.qr((leading.basis @ (np.eye(4) + t)).T)[0].T for t in turns]
    assert min(error(frame.T @ frame) for frame in frames + near) > best
    assert error(model.basis[1 : rank + 1].T @ model.basis[1 : rank + 1]) > best


@given(
    values=st.lists(st.floats(0, 1e6), max_size=6).map(lambda v: sorted(v, reverse=True)),
    sigma=SIGMAS,
    factor=st.floats(1, 1e4),
)
@pytest.mark.parametrize("name", GAINS)
def test_gains_lie_in_the_unit_interval_and_rise_with_signal_and_fall_with_noise(
    name, values, sigma, factor
):
    gain = GAINS[name]
    values = np.array(values)
    out = gain(values, sigma)
    assert out.shape == values.shape
    assert out.dtype == np.float64
    assert ((out >= 0) & (out <= 1)).all()
    assert (np.diff(out) <= 0).all()
    assert (gain(values, factor * sigma) <= out).all()
    assert (out[values == 0] == 0).all()


@pytest.mark.parametrize("name", GAINS)
def test_without_noise_every_gain_keeps_what_has_variance(name):
    np.testing.assert_array_equal(GAINS[name](LAM, 0.0), [1, 1, 1, 1, 0])


# ---------------------------------------------------------------- the linear denoiser


@pytest.mark.parametrize(("n", "d"), [(30, 5), (4, 6)])
@pytest.mark.parametrize("sigma", [0.1, 1.0, 10.0])
def test_the_fit_is_the_least_squares_solution_over_all_noise_draws(rng, n, d, sigma):
    x = rng.standard_normal((n, d)) * np.linspace(0.3, 2, d) + 4
    # the noise adds n sigma^2 |A|^2 to the squared error of x A + b: d more rows
    inputs = np.vstack([np.c_[x, np.ones(n)], sigma * np.sqrt(n) * np.eye(d, d + 1)])
    targets = np.vstack([x, np.zeros((d, d))])
    solution = np.linalg.lstsq(inputs, targets, rcond=None)[0]
    fitted, y = LinearDenoiser.fit(x), 5 * rng.standard_normal((7, d))
    np.testing.assert_allclose(fitted(y, sigma), np.c_[y, np.ones(7)] @ solution, atol=1e-10)
    np.testing.assert_allclose(fitted.matrix(sigma), solution[:-1].T, atol=1e-12)


@pytest.mark.parametrize("rank", [0, 1, 2, 4])
@pytest.mark.parametrize("sigma", [0.1, 1.0, 3.0])
def test_the_fit_of_rank_r_is_the_least_squares_solution_of_that_rank(rng, rank, sigma):
    n, d = 30, 5
    x = rng.standard_normal((n, d)) * np.arange(1, d + 1) + 4
    centred = x - x.mean(axis=0)
    inputs = np.vstack([centred, sigma * np.sqrt(n) * np.eye(d)])
    targets = np.vstack([centred, np.zeros((d, d))])
    full = np.linalg.lstsq(inputs, targets, rcond=None)[0]
    # Eckart and Young: cut the fitted values to rank r
    keep = np.linalg.svd(inputs @ full)[2][:rank]
    denoiser = LinearDenoiser.fit(x, rank)
    np.testing.assert_allclose(denoiser.matrix(sigma), (full @ keep.T @ keep).T, atol=1e-10)

    def loss(matrix):
        return ((inputs @ matrix.T - targets) ** 2).sum()

    best = loss(denoiser.matrix(sigma))
    left, right = denoiser.matrix(sigma) @ denoiser.model.basis.T, denoiser.model.basis
    for scale in [1e-3, 1e-2, 0.1, 1.0] * 25:
        moved = left + scale * rng.standard_normal(left.shape)
        turned = right + scale * rng.standard_normal(right.shape)
        assert loss(moved @ turned) >= best * (1 - 1e-12)


def test_the_matrix_of_a_linear_denoiser_is_its_jacobian(random_law, rng):
    denoiser, y = LinearDenoiser(random_law([3.0, 1.0], dim=4)), rng.standard_normal(4)
    jacobian = difference_quotient(lambda rows: denoiser(rows, 0.8), y)
    np.testing.assert_allclose(denoiser.matrix(0.8), jacobian, atol=1e-9)


@pytest.mark.parametrize("gain", GAINS)
def test_the_matrix_of_a_linear_denoiser_is_the_gain_as_a_matrix_function(random_law, gain):
    model, sigma = random_law([3.0, 1.0, 0.5, 0.0]), 0.8
    covariance, noise = model.covariance(), sigma**2 * np.eye(4)
    values, vectors = np.linalg.eigh(covariance)
    expected = {
        "wiener": covariance @ np.linalg.inv(covariance + noise),
        "project": vectors * (values > 1e-12) @ vectors.T,
        "hard_threshold": vectors * (values > sigma**2) @ vectors.T,
    }[gain]
    matrix = LinearDenoiser(model, GAINS[gain]).matrix(sigma)
    np.testing.assert_allclose(matrix, expected, atol=1e-12)


@given(sigma=SIGMAS, seed=st.integers(0, 50), rank=st.integers(0, 4))
def test_a_linear_denoiser_contracts_towards_the_mean(sigma, seed, rank):
    rng = np.random.default_rng(seed)
    values = np.sort(10.0 ** rng.uniform(-6, 6, rank))[::-1]
    model = Gaussian(rng.standard_normal(4), values, random_basis(4, rank, seed))
    y = 10 * rng.standard_normal((3, 4))
    before = np.linalg.norm(y - model.mean, axis=1)
    after = np.linalg.norm(LinearDenoiser(model)(y, sigma) - model.mean, axis=1)
    assert (after <= before * (1 + 1e-12)).all()


@pytest.mark.parametrize("wrap", [np.asarray, torch.from_numpy])
def test_colouring_applies_a_function_of_the_matrix_inside_and_outside_the_span(
    random_law, rng, wrap
):
    denoiser, white = LinearDenoiser(random_law([5.0, 1.0], dim=4)), rng.standard_normal((3, 4))
    values, vectors = np.linalg.eigh(denoiser.matrix(0.8))
    expected = white @ (vectors * np.sqrt(0.3 + values.clip(0))) @ vectors.T
    found = denoiser.colour(wrap(white), 0.8, lambda gain: (0.3 + gain) ** 0.5)
    np.testing.assert_allclose(found, expected, atol=1e-7)  # the root of a zero up to rounding


# ---------------------------------------------------------------- the mixture


@pytest.mark.parametrize("sigma", [0.15, 0.7, 3.0])
@pytest.mark.parametrize(("dim", "ranks"), [(1, (1, 1)), (2, (2, 2, 2))])
def test_the_mixture_gives_posterior_mean_and_covariance(sigma, dim, ranks):
    denoiser = mixture(dim, ranks)
    y = np.array([0.7, -0.4])[:dim]
    # the trapezoidal rule is exact up to rounding for Gaussians wider than the mesh
    axis = np.linspace(-12, 12, 1201 if dim == 1 else 801)
    x = np.stack([c.ravel() for c in np.meshgrid(*[axis] * dim, indexing="ij")], axis=1)
    prior = sum(
        weight * multivariate_normal(c.mean, c.covariance()).pdf(x)
        for weight, c in zip(denoiser.weights, denoiser.components, strict=True)
    )
    posterior = prior * np.exp(-((y - x) ** 2).sum(axis=1) / (2 * sigma**2))
    posterior /= posterior.sum()
    mean = posterior @ x
    covariance = (posterior[:, None] * (x - mean)).T @ (x - mean)
    np.testing.assert_allclose(denoiser(y[None], sigma)[0], mean, atol=1e-9)
    np.testing.assert_allclose(denoiser.jacobian(y, sigma), covariance / sigma**2, atol=1e-8)


@pytest.mark.parametrize("sigma", [0.3, 1.0, 3.0])
@pytest.mark.parametrize("dim", [1, 2, 5])
@pytest.mark.parametrize("kind", ["linear", "mixture", "empirical"])
def test_the_jacobian_is_symmetric_positive_and_the_limit_of_differences(rng, kind, dim, sigma):
    denoiser, y = denoisers(dim)[kind], rng.standard_normal(dim)
    jacobian = denoiser.matrix(sigma) if kind == "linear" else denoiser.jacobian(y, sigma)
    quotient = difference_quotient(lambda rows: denoiser(rows, sigma), y)
    # third derivative (up to sigma^-4) times the squared step 1e-10
    np.testing.assert_allclose(jacobian, quotient, atol=1e-7)
    np.testing.assert_allclose(jacobian, jacobian.T, atol=1e-12)
    assert np.linalg.eigvalsh(jacobian).min() >= -1e-12


@pytest.mark.parametrize("kind", ["mixture", "empirical"])
def test_the_jacobian_is_that_of_automatic_differentiation(rng, kind):
    denoiser, y = denoisers(3)[kind], torch.from_numpy(rng.standard_normal(3))
    automatic = torch.autograd.functional.jacobian(lambda z: denoiser(z[None], 0.6)[0], y)
    torch.testing.assert_close(denoiser.jacobian(y, 0.6), automatic, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("sigma", [0.3, 1.0, 3.0])
@pytest.mark.parametrize(("dim", "ranks"), [(1, (1, 0)), (3, (3, 1, 0)), (2, (2,))])
def test_tweedies_formula_holds(rng, sigma, dim, ranks):
    denoiser, y = mixture(dim, ranks), rng.standard_normal(dim)
    score = difference_quotient(lambda rows: denoiser.log_density(rows, sigma)[:, None], y)[0]
    np.testing.assert_allclose(denoiser(y[None], sigma)[0], y + sigma**2 * score, atol=1e-7)


@pytest.mark.parametrize("sigma", [0.3, 1.0, 30.0])
def test_the_log_density_is_that_of_the_noisy_mixture(rng, sigma):
    denoiser, y = mixture(3, (3, 1, 0)), 3 * rng.standard_normal((6, 3))
    density = sum(
        weight * multivariate_normal(c.mean, c.covariance() + sigma**2 * np.eye(3)).pdf(y)
        for weight, c in zip(denoiser.weights, denoiser.components, strict=True)
    )
    np.testing.assert_allclose(denoiser.log_density(y, sigma), np.log(density), rtol=1e-10)


@pytest.mark.parametrize("sigma", [1e-6, 1e-7, 1e-8])
def test_the_log_density_tends_to_that_of_the_clean_mixture(rng, sigma):
    denoiser, y = mixture(2, (2, 2)), rng.standard_normal((6, 2))
    clean = sum(
        weight * multivariate_normal(c.mean, c.covariance()).pdf(y)
        for weight, c in zip(denoiser.weights, denoiser.components, strict=True)
    )
    np.testing.assert_allclose(denoiser.log_density(y, sigma), np.log(clean), atol=1e-9)


def test_a_mixture_of_one_component_is_the_linear_denoiser(random_law, rng):
    model, y = random_law([3.0, 1.0], dim=3), rng.standard_normal((5, 3))
    single = GaussianMixture([1.0], [model])
    np.testing.assert_allclose(single(y, 0.5), LinearDenoiser(model)(y, 0.5), rtol=1e-12)
    np.testing.assert_allclose(single.jacobian(y[0], 0.5), LinearDenoiser(model).matrix(0.5))


def test_the_smallest_error_is_the_noise_variance_times_the_mean_trace_of_the_jacobian(rng):
    denoiser, sigma, n = mixture(2, (2, 1, 0)), 0.8, 1000
    x = denoiser.sample(n, rng=rng)
    y = x + sigma * rng.standard_normal(x.shape)
    error = ((denoiser(y, sigma) - x) ** 2).sum(axis=1)
    traces = np.array([np.trace(denoiser.jacobian(row, sigma)) for row in y])
    gap = error - sigma**2 * traces
    assert abs(gap.mean()) <= 4 * gap.std() / np.sqrt(n)


def test_the_mixture_beats_the_best_linear_denoiser_on_its_own_data(rng):
    law = mixture(2, (2, 1, 0))
    x = law.sample(20_000, rng=rng)
    y = x + 0.8 * rng.standard_normal(x.shape)
    gain = ((LinearDenoiser.fit(x)(y, 0.8) - x) ** 2 - (law(y, 0.8) - x) ** 2).sum(axis=1)
    assert gain.mean() > 4 * gain.std() / np.sqrt(len(x))


def test_samples_of_a_mixture_have_its_moments(rng):
    law, n = mixture(2, (2, 1, 0)), 20_000
    x = law.sample(n, rng=rng)
    means = np.array([c.mean for c in law.components])
    mean = law.weights @ means
    within = sum(w * c.covariance() for w, c in zip(law.weights, law.components, strict=True))
    covariance = within + (law.weights * (means - mean).T) @ (means - mean)
    assert x.shape == (n, 2)
    assert (np.abs(x.mean(axis=0) - mean) <= 4 * x.std(axis=0) / np.sqrt(n)).all()
    products = (x - mean)[:, :, None] * (x - mean)[:, None, :]
    error = products.std(axis=0) / np.sqrt(n)
    assert (np.abs(products.mean(axis=0) - covariance) <= 4 * error).all()
    # and they come in random order
    nearest = np.abs(x[:, None] - means).sum(axis=2).argmin(axis=1)
    assert (nearest[: n // 2] == 0).mean() == pytest.approx((nearest == 0).mean(), abs=0.02)


# ---------------------------------------------------------------- the empirical law


@pytest.mark.parametrize("sigma", [0.1, 1.0, 10.0])
def test_the_empirical_denoiser_is_a_mixture_of_points(rng, sigma):
    x, y = rng.standard_normal((6, 3)), rng.standard_normal((4, 3))
    points = GaussianMixture([1 / 6] * 6, [Gaussian(row, [], np.empty((0, 3))) for row in x])
    memory = EmpiricalBayes(x)
    np.testing.assert_allclose(memory(y, sigma), points(y, sigma), atol=1e-12)
    np.testing.assert_allclose(
        memory.jacobian(y[0], sigma), points.jacobian(y[0], sigma), atol=1e-11
    )


def test_the_empirical_posterior_is_bayes_rule(rng):
    x, y, sigma = rng.standard_normal((6, 3)), rng.standard_normal((4, 3)), 0.7
    likelihood = np.array([multivariate_normal(row, sigma**2).pdf(y) for row in x]).T
    expected = likelihood / likelihood.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(EmpiricalBayes(x).weights(y, sigma), expected, rtol=1e-10)


@pytest.mark.parametrize("offset", [0.0, 100.0])
def test_the_empirical_denoiser_goes_from_the_nearest_sample_to_the_mean(rng, offset):
    x, y = rng.standard_normal((20, 3)) + offset, rng.standard_normal((9, 3)) + offset
    memory = EmpiricalBayes(x)
    nearest = x[((y[:, None] - x) ** 2).sum(axis=2).argmin(axis=1)]
    np.testing.assert_array_equal(memory(y, 1e-6), nearest)
    np.testing.assert_allclose(memory.jacobian(y[0], 1e-6), 0, atol=1e-12)
    np.testing.assert_allclose(memory(y, 1e8), np.tile(x.mean(axis=0), (9, 1)), atol=1e-10)
    # and at large noise its Jacobian is a power step with the sample covariance
    np.testing.assert_allclose(1e8 * memory.jacobian(y[0], 1e4), np.cov(x.T, bias=True), atol=1e-3)


# ---------------------------------------------------------------- all denoisers


@pytest.mark.parametrize("kind", KINDS)
@given(sigma=SIGMAS, n=st.integers(1, 4), dim=st.integers(1, 5), size=st.sampled_from([1e-4, 1, 9]))
def test_denoisers_are_finite_at_every_noise_level_and_shape(kind, sigma, n, dim, size):
    denoiser = denoisers(dim)[kind]
    y = size * np.random.default_rng(n).standard_normal((n, dim))
    out = denoiser(y, sigma)
    assert out.shape == y.shape
    assert out.dtype == np.float64
    assert np.isfinite(out).all()
    if hasattr(denoiser, "jacobian"):
        assert np.isfinite(denoiser.jacobian(y[0], sigma)).all()
    if hasattr(denoiser, "log_density"):
        assert np.isfinite(denoiser.log_density(y, sigma)).all()
    if hasattr(denoiser, "x"):  # inside the convex hull of the data
        assert (out <= denoiser.x.max(axis=0) + 1e-12).all()
        assert (out >= denoiser.x.min(axis=0) - 1e-12).all()


@pytest.mark.parametrize("kind", KINDS)
def test_rows_are_denoised_one_by_one(rng, kind):
    denoiser, y = denoisers(4)[kind], rng.standard_normal((5, 4))
    single = np.vstack([denoiser(row[None], 0.7) for row in y])
    np.testing.assert_allclose(denoiser(y, 0.7), single, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("kind", KINDS)
def test_a_tensor_gives_a_tensor_of_the_same_values(rng, kind):
    denoiser, y = denoisers(4)[kind], rng.standard_normal((5, 4))
    out = denoiser(torch.from_numpy(y), 0.7)
    assert isinstance(out, torch.Tensor)
    np.testing.assert_allclose(out.numpy(), denoiser(y, 0.7), rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("sigma", [0.7, np.float64(0.7)], ids=["float", "numpy scalar"])
@pytest.mark.parametrize("wrap", [np.asarray, torch.from_numpy], ids=["numpy", "torch"])
@pytest.mark.parametrize("kind", KINDS)
def test_single_precision_stays_single(rng, kind, wrap, sigma):
    denoiser, y = denoisers(4)[kind], rng.standard_normal((5, 4))
    single = wrap(y.astype(np.float32))
    out = denoiser(single, sigma)
    assert out.dtype == single.dtype
    np.testing.assert_allclose(np.asarray(out), denoiser(y, 0.7), atol=1e-5)


@pytest.mark.parametrize(
    "sigma",
    [0.7, np.float64(0.7)],
    ids=["float", "numpy scalar"],
)
@pytest.mark.parametrize("kind", ["mixture", "empirical"])
def test_the_jacobian_of_a_single_precision_state_is_single(rng, kind, sigma):
    y = rng.standard_normal(4).astype(np.float32)
    assert denoisers(4)[kind].jacobian(y, sigma).dtype == np.float32


@pytest.mark.parametrize("sigma", [0.7, np.float64(0.7)], ids=["float", "numpy scalar"])
def test_the_log_density_of_a_single_precision_state_is_single(rng, sigma):
    y = rng.standard_normal((5, 4)).astype(np.float32)
    out = denoisers(4)["mixture"].log_density(y, sigma)
    assert out.dtype == np.float32
    np.testing.assert_allclose(
        out, denoisers(4)["mixture"].log_density(y.astype(float), 0.7), rtol=1e-4
    )


@pytest.mark.parametrize("wrap", [np.asarray, torch.from_numpy], ids=["numpy", "torch"])
@pytest.mark.parametrize("kind", KINDS)
def test_whole_numbers_are_denoised_as_real_numbers_or_refused(kind, wrap):
    denoiser, y = denoisers(2)[kind], np.array([[4, 4], [1, 0]])
    try:
        out = np.asarray(denoiser(wrap(y), 1.0))
    except ValueError as error:
        assert "y has" in str(error)
    else:
        np.testing.assert_allclose(out, denoiser(y.astype(float), 1.0), rtol=1e-5)


# ---------------------------------------------------------------- wrong input

PLANE = Gaussian(np.zeros(2), [2.0, 1.0], np.eye(2))
LINE = Gaussian(np.zeros(1), [1.0], np.eye(1))
Y = np.ones((3, 2))
WRONG = {
    "noise below zero": (lambda: wiener([1.0], -1.0), "sigma is -1.0; expected a finite number >="),
    "noise of nan": (lambda: project([1.0], np.nan), "sigma is nan; expected a finite number"),
    "eigenvalue below zero": (
        lambda: hard_threshold([1.0, -1.0], 1.0),
        "eigenvalues contains -1.0; expected non-negative",
    ),
    "eigenvalues that rise": (
        lambda: wiener([1.0, 2.0], 1.0),
        "eigenvalues rises from 1.0 to 2.0; expected descending order",
    ),
    "training that ends before it starts": (
        lambda: gradient_flow(-1.0),
        "time is -1.0; expected a finite number >= 0.0",
    ),
    "three layers": (lambda: gradient_flow(1.0, layers=3), "layers is 3; expected an integer"),
    "two layers at zero": (
        lambda: gradient_flow(1.0, layers=2),
        "start is 0.0; expected a finite number > 0.0",
    ),
    "eigenvalue of nan": (lambda: wiener([np.nan], 1.0), "eigenvalues is nan at index [0]"),
    "linear, noise below zero": (
        lambda: LinearDenoiser(PLANE)(Y, -0.1),
        "sigma is -0.1; expected a finite number >= 0",
    ),
    "linear, rank above n": (lambda: LinearDenoiser.fit(Y, 3), "rank is 3; expected an integer"),
    "linear, nan data": (lambda: LinearDenoiser.fit([[np.nan]]), "x is nan at index [0, 0]"),
    "mixture, noise zero": (
        lambda: GaussianMixture([1.0], [PLANE])(Y, 0.0),
        "sigma is 0.0; expected a finite number > 0",
    ),
    "mixture, density at noise zero": (
        lambda: GaussianMixture([1.0], [PLANE]).log_density(Y, 0.0),
        "sigma is 0.0; expected a finite number > 0",
    ),
    "mixture, jacobian of rows": (
        lambda: GaussianMixture([1.0], [PLANE]).jacobian(Y, 1.0),
        "y has shape (1, 3, 2); expected",
    ),
    "mixture, weights not one": (
        lambda: GaussianMixture([0.5, 0.6], [PLANE, PLANE]),
        "weights is [0.5 0.6]; expected positive numbers that sum to 1",
    ),
    "mixture, a weight of zero": (
        lambda: GaussianMixture([1.0, 0.0], [PLANE, PLANE]),
        "weights is [1. 0.]; expected positive numbers",
    ),
    "mixture, too few weights": (
        lambda: GaussianMixture([1.0], [PLANE, PLANE]),
        "weights has shape (1,); expected (2,)",
    ),
    "mixture, weight of nan": (
        lambda: GaussianMixture([np.nan], [PLANE]),
        "weights is nan at index [0]; expected finite",
    ),
    "mixture, empty": (lambda: GaussianMixture([], []), "weights is []; expected positive"),
    "mixture, two spaces": (
        lambda: GaussianMixture([0.5, 0.5], [PLANE, LINE]),
        "components have dimensions [2, 1]; expected one",
    ),
    "mixture, no samples": (
        lambda: GaussianMixture([1.0], [PLANE]).sample(0, rng=np.random.default_rng(0)),
        "n is 0; expected an integer of at least 1",
    ),
    "empirical, a vector": (lambda: EmpiricalBayes([1.0]), "x has shape (1,); expected 2"),
    "empirical, no samples": (
        lambda: EmpiricalBayes(np.empty((0, 2))),
        "number of samples (rows of x) is 0; expected an integer of at least 1",
    ),
    "empirical, nan": (lambda: EmpiricalBayes([[np.inf]]), "x is inf at index [0, 0]"),
    "empirical, noise zero": (
        lambda: EmpiricalBayes(Y).weights(Y, 0.0),
        "sigma is 0.0; expected a finite number > 0",
    ),
    "empirical, jacobian at noise zero": (
        lambda: EmpiricalBayes(Y).jacobian(Y[0], 0.0),
        "sigma is 0.0; expected a finite number > 0",
    ),
}


@pytest.mark.parametrize("case", WRONG)
def test_wrong_input_is_named_with_what_was_expected(case):
    call, message = WRONG[case]
    with pytest.raises(ValueError, match=re.escape(message)):
        call()


OBSERVATIONS = {
    "a vector": (np.ones(2), "y has shape (2,); expected (n, 2)"),
    "another dimension": (np.ones((3, 4)), "y has shape (3, 4); expected (n, 2)"),
    "images": (np.ones((3, 1, 2, 2)), "y has shape (3, 1, 2, 2); expected (n, 2)"),
    "nan": (np.array([[np.nan, 0.0]]), "y contains nan or inf; expected finite values"),
    "inf": (np.array([[np.inf, 0.0]]), "y contains nan or inf; expected finite values"),
}


@pytest.mark.parametrize("wrap", [np.asarray, torch.from_numpy], ids=["numpy", "torch"])
@pytest.mark.parametrize("case", OBSERVATIONS)
@pytest.mark.parametrize("kind", KINDS)
def test_observations_that_do_not_fit_are_refused(kind, case, wrap):
    y, message = OBSERVATIONS[case]
    with pytest.raises(ValueError, match=re.escape(message)):
        denoisers(2)[kind](wrap(y), 1.0)


@pytest.mark.parametrize(("dtype", "sigma"), [(np.float64, 1e-100), (np.float32, 1e-15)])
def test_the_empirical_denoiser_finds_the_nearest_sample_at_tiny_noise(rng, dtype, sigma):
    x = rng.standard_normal((9, 3))
    y = (x + 0.01 * rng.standard_normal((9, 3))).astype(dtype)
    np.testing.assert_allclose(EmpiricalBayes(x)(y, sigma), x, rtol=1e-6)


@pytest.mark.parametrize(("n", "d"), [(5, 20), (20, 5), (30, 60)])
def test_a_projection_fitted_to_all_of_the_data_projects_on_their_span_alone(rng, n, d):
    x = rng.standard_normal((n, 3)) @ rng.standard_normal((3, d)) + rng.standard_normal(d)
    denoiser, y = LinearDenoiser.fit(x, gain=project), rng.standard_normal((4, d))
    centred = x - x.mean(axis=0)
    exact = x.mean(axis=0) + (y - x.mean(axis=0)) @ np.linalg.pinv(centred, rcond=1e-10) @ centred
    np.testing.assert_allclose(denoiser(y, 1.0), exact, atol=1e-10)
    assert denoiser.gains(1.0).sum() == 3


def test_an_empirical_denoiser_is_printed_in_one_line():
    assert repr(EmpiricalBayes(np.ones((500, 3)))) == "EmpiricalBayes(n=500, dim=3)"


UNCHECKED = {
    "y is a list": (lambda: LinearDenoiser(PLANE)([[1.0, 2.0]], 1.0), "y is a list"),
    "y is a list, mixture": (lambda: mixture()([[1.0, 2.0]], 1.0), "y is a list"),
    "jacobian of a list": (lambda: mixture().jacobian([1.0, 2.0], 1.0), "y is a list"),
    "gain of a wrong length": (
        lambda: LinearDenoiser(PLANE, gain=lambda lam, sigma: np.ones(3))(Y, 1.0),
        r"gain.* \(3,\); expected \(2,\)",
    ),
    "gain that broadcasts": (
        lambda: LinearDenoiser(PLANE, gain=lambda lam, sigma: np.ones(1)).gains(1.0),
        r"gain.* \(1,\); expected \(2,\)",
    ),
    "gain of nan": (
        lambda: LinearDenoiser(PLANE, gain=lambda lam, sigma: lam * np.nan).gains(1.0),
        r"result of gain is nan at index \[0\]; expected finite",
    ),
    "sigma is text": (lambda: wiener([1.0], "a"), "sigma is a; expected"),
    "components are no laws": (
        lambda: GaussianMixture([0.5, 0.5], [PLANE, np.ones(500)]),
        "components are of type Gaussian, ndarray; expected Gaussian laws",
    ),
    "data for a model": (
        lambda: LinearDenoiser(np.ones((5, 2))),
        r"model is of type ndarray and shape \(5, 2\); expected a Gaussian",
    ),
    "a number for a gain": (lambda: LinearDenoiser(PLANE, 0.5), "gain is 0.5; expected a Callable"),
    "sigma whose square is zero": (
        lambda: EmpiricalBayes(Y)(Y, 1e-160),
        "sigma is 1e-160; expected a finite number >= ",
    ),
    "sigma whose square is zero in single precision": (
        lambda: EmpiricalBayes(Y)(Y.astype(np.float32), 1e-20),
        "sigma is 1e-20; expected a finite number >= ",
    ),
}


@pytest.mark.parametrize("case", UNCHECKED)
def test_unchecked_input_is_named_too(case):
    call, message = UNCHECKED[case]
    with pytest.raises(ValueError, match=message):
        call()


# torch's own forward mode compiles with what torch itself calls deprecated
@pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated:DeprecationWarning")
@pytest.mark.parametrize("kind", KINDS)
def test_denoisers_work_under_the_transformations_of_torch(kind, rng):
    denoiser, y = denoisers(3)[kind], torch.from_numpy(rng.standard_normal((1, 3)))

    def denoise(z):
        return denoiser(z, 0.6)

    automatic = torch.autograd.functional.jacobian(lambda z: denoise(z[None])[0], y[0])
    directions = torch.eye(3, dtype=torch.float64)[:, None]
    _, pull = vjp(denoise, y)
    rows = vmap(lambda v: pull(v)[0])(directions)[:, 0]
    columns = vmap(lambda v: jvp(denoise, (y,), (v,))[1])(directions)[:, 0]
    torch.testing.assert_close(rows, automatic, rtol=1e-10, atol=1e-12)
    torch.testing.assert_close(columns.T, automatic, rtol=1e-10, atol=1e-12)
    many = torch.from_numpy(rng.standard_normal((4, 3)))
    mapped = vmap(lambda z: denoise(z[None])[0])(many)
    torch.testing.assert_close(mapped, denoise(many), rtol=1e-10, atol=1e-12)


# ---------------------------------------------------------------- guidance


def test_a_guided_denoiser_extrapolates_from_the_pool_through_the_class(rng):
    one, pool = denoisers(2, seed=1)["mixture"], denoisers(2, seed=2)["linear"]
    y = 3 * rng.standard_normal((5, 2))
    kept = y.copy()
    for weight in (0.0, 1.0, 3.0, -0.5):
        found = GuidedDenoiser(one, pool, weight)(y, 0.7)
        expected = weight * one(y, 0.7) + (1 - weight) * pool(y, 0.7)
        np.testing.assert_allclose(found, expected, rtol=1e-12)
    np.testing.assert_array_equal(y, kept)


def test_a_guided_denoiser_keeps_array_types_and_the_state_of_its_caller():
    def in_place(y, sigma):
        y *= 0.5
        return y

    y, linear = torch.ones(3, 2), LinearDenoiser(PLANE)
    first = GuidedDenoiser(in_place, linear, 2.0)(y, 1.0)
    second = GuidedDenoiser(linear, in_place, 2.0)(y, 1.0)
    assert first.dtype == second.dtype == torch.float32
    assert (y == 1).all()
    np.testing.assert_allclose(first, 1.0 - linear(y, 1.0))
    np.testing.assert_allclose(second, 2 * linear(y, 1.0) - 0.5)


def test_gains_of_a_guided_denoiser_are_its_action_on_the_modes(random_law):
    one, pool = random_law([5.0, 1.0, 0.2]), random_law([3.0, 2.0, 1.0])
    pair = LinearDenoiser(Gaussian(one.mean, one.eigenvalues, pool.basis)), LinearDenoiser(pool)
    guided = GuidedDenoiser(*pair, 2.5)
    moved = guided(pool.mean + pool.basis, 0.8) - guided(pool.mean[None], 0.8)
    np.testing.assert_allclose(moved, guided.gains(0.8)[:, None] * pool.basis, atol=1e-12)
    assert GuidedDenoiser(LinearDenoiser(PLANE), LinearDenoiser(PLANE), 7).gains(
        0.8
    ) == pytest.approx(LinearDenoiser(PLANE).gains(0.8))


GUIDANCE = {
    "a weight that is no number": (
        lambda: GuidedDenoiser(LinearDenoiser(PLANE), LinearDenoiser(PLANE), "strong"),
        "weight is strong",
    ),
    "an infinite weight": (
        lambda: GuidedDenoiser(LinearDenoiser(PLANE), LinearDenoiser(PLANE), np.inf),
        "weight is inf",
    ),
    "a law for a denoiser": (
        lambda: GuidedDenoiser(LinearDenoiser(PLANE), PLANE, 2.0),
        "unconditional is Gaussian(dim=2, rank=2); expected a Callable",
    ),
    "gains of what is not linear": (
        lambda: GuidedDenoiser(EmpiricalBayes(Y), LinearDenoiser(PLANE), 2.0).gains(1.0),
        "expected a LinearDenoiser",
    ),
    "gains of two bases": (
        lambda: GuidedDenoiser(
            LinearDenoiser(PLANE),
            LinearDenoiser(Gaussian(np.zeros(2), [2, 1], [[0, 1], [1, 0]])),
            2,
        ).gains(1.0),
        "different bases",
    ),
}


@pytest.mark.parametrize("case", GUIDANCE)
def test_wrong_guidance_is_named(case):
    call, message = GUIDANCE[case]
    with pytest.raises(ValueError, match=re.escape(message)):
        call()
