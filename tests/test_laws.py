"""Exact laws: every step rule against dense matrices, Monte Carlo, and the theory's closed forms.

The transitions in :data:`RULES` are written from the textbooks, as d × d matrices, and share
nothing with the package.
"""

import re
from itertools import pairwise

import numpy as np
import pytest
from scipy.integrate import quad

from lindiff.clocks import clock
from lindiff.denoisers import GuidedDenoiser, LinearDenoiser, hard_threshold, project, wiener
from lindiff.gaussian import Gaussian
from lindiff.laws import affine_map, contributions, draw, law
from lindiff.mixtures import EmpiricalBayes
from lindiff.samplers import ancestral, ddim, ddim_eta, ddpm, heun, redenoise, sample
from lindiff.schedules import geometric, karras

# ---------------------------------------------------------------- textbook transitions
# Each gives the matrix M and the noise s of  x_next = M x + s eps  about the mean, from the dense
# denoising matrix W(sigma).


def euler(w, sigma, sigma_next):
    """Euler step for dx/dsigma = (x - D)/sigma [Karras et al. 2022, eq. 3]."""
    eye = np.eye(len(w(sigma)))
    return eye + (sigma_next - sigma) * (eye - w(sigma)) / sigma, 0.0


def trapezoidal(w, sigma, sigma_next):
    """Heun step for the same equation [Karras et al. 2022, algorithm 1]."""
    if sigma_next == 0:
        return euler(w, sigma, sigma_next)
    eye = np.eye(len(w(sigma)))
    first = (eye - w(sigma)) / sigma
    second = (eye - w(sigma_next)) / sigma_next @ (eye + (sigma_next - sigma) * first)
    return eye + (sigma_next - sigma) * (first + second) / 2, 0.0


def bayes(w, sigma, sigma_next):
    """Law of x_{t-1} given x_t and x_0 = D, by Bayes' rule: precisions add."""
    if sigma_next == 0:
        return w(sigma), 0.0
    eye = np.eye(len(w(sigma)))
    data, increment = sigma_next**2, sigma**2 - sigma_next**2
    variance = 1 / (1 / data + 1 / increment)
    return variance * (w(sigma) / data + eye / increment), np.sqrt(variance)


def song(value):
    """DDIM with parameter eta, in variance-preserving form [Song et al. 2021, eqs. 12 and 16]."""

    def rule(w, sigma, sigma_next):
        eye = np.eye(len(w(sigma)))
        bar, bar_next = 1 / (1 + sigma**2), 1 / (1 + sigma_next**2)
        noise = value * np.sqrt((1 - bar_next) / (1 - bar)) * np.sqrt(1 - bar / bar_next)
        predicted = (eye - w(sigma)) / sigma
        move = np.sqrt(bar_next) * w(sigma) + np.sqrt(1 - bar_next - noise**2) * predicted
        return move / np.sqrt(bar_next), noise / np.sqrt(bar_next)

    return rule


def denoise_only(w, sigma, sigma_next):
    return w(sigma), 0.0


# levels from 3 to 0.2: steps small enough for eta = 1.2
FINE = geometric(8, 0.2, 3.0)
RULES = {
    "ddim": (ddim, euler),
    "heun": (heun, trapezoidal),
    "ddpm": (ddpm, bayes),
    "redenoise": (redenoise, denoise_only),
    "eta 0": (ddim_eta(0.0), song(0.0)),
    "eta 0.5": (ddim_eta(0.5), song(0.5)),
    "eta 1": (ddim_eta(1.0), song(1.0)),
    "eta 1.2": (ddim_eta(1.2), song(1.2)),
}
STOCHASTIC = ["ddpm", "eta 0.5", "eta 1.2"]
SCHEDULES = {
    "to data": FINE,
    "to a positive level": FINE[:-1],
    "karras": karras(9, 0.3, 3.0, rho=3),
    "one step": FINE[-2:],
}
SPECTRA = {
    "generic": [4.0, 2.0, 1.0, 0.3],
    "repeated and zero": [2.0, 2.0, 0.5, 0.0],
    "zero": [0.0, 0.0, 0.0, 0.0],
}


def dense_gain(gain, covariance):
    """The denoising matrix as a function of sigma, from the dense covariance alone."""
    values, vectors = np.linalg.eigh(covariance)
    eye = np.eye(len(values))
    return {
        wiener: lambda sigma: covariance @ np.linalg.inv(covariance + sigma**2 * eye),
        project: lambda sigma: vectors * (values > 1e-12) @ vectors.T,
        hard_threshold: lambda sigma: vectors * (values > sigma**2) @ vectors.T,
    }[gain]


def dense_law(rule, w, sigmas, start):
    """Response to the start, and covariance, at every level."""
    response, covariance = [np.eye(len(start))], [start]
    for sigma, sigma_next in pairwise(sigmas):
        move, noise = rule(w, sigma, sigma_next)
        response.append(move @ response[-1])
        covariance.append(move @ covariance[-1] @ move.T + noise**2 * np.eye(len(start)))
    return np.array(response), np.array(covariance)


def centred(eigenvalues, basis=None):
    """Wiener denoiser of a centred law."""
    basis = np.eye(len(eigenvalues)) if basis is None else basis
    return LinearDenoiser(Gaussian(np.zeros(basis.shape[1]), eigenvalues, basis))


# ---------------------------------------------------------------- law


@pytest.mark.parametrize("gain", [wiener, project, hard_threshold])
@pytest.mark.parametrize("spectrum", SPECTRA)
@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("name", RULES)
def test_the_law_of_every_step_rule_is_its_matrix_recursion(
    random_law, name, schedule, spectrum, gain
):
    model, sigmas = random_law(SPECTRA[spectrum]), SCHEDULES[schedule]
    step, rule = RULES[name]
    w = dense_gain(gain, model.covariance())
    basis = model.basis
    response, covariance = dense_law(rule, w, sigmas, sigmas[0] ** 2 * np.eye(4))
    exact = law(LinearDenoiser(model, gain), sigmas, step=step)
    # V^T diag(.) V at every level at once
    np.testing.assert_allclose(basis.T * exact.gain[:, None] @ basis, response, atol=1e-12)
    np.testing.assert_allclose(
        basis.T * exact.variance[:, None] @ basis, covariance, atol=1e-12 * sigmas[0] ** 2
    )


@pytest.mark.parametrize("name", RULES)
@pytest.mark.parametrize("start", ["scalar", "per mode", "zero"])
def test_the_law_starts_from_the_variance_it_is_given(random_law, name, start):
    model = random_law(SPECTRA["generic"])
    step, rule = RULES[name]
    given = {"scalar": 2.5, "per mode": model.eigenvalues + FINE[0] ** 2, "zero": 0.0}[start]
    first = np.broadcast_to(given, 4)
    _, covariance = dense_law(
        rule, dense_gain(wiener, model.covariance()), FINE, model.basis.T * first @ model.basis
    )
    variance = law(LinearDenoiser(model), FINE, step=step, start=given).variance
    np.testing.assert_allclose(variance[0], first)
    np.testing.assert_allclose(
        model.basis.T * variance[-1] @ model.basis, covariance[-1], atol=1e-11
    )


def assert_moments(x, mean, covariance):
    """Sample mean and covariance within four standard errors of those of a Gaussian law."""
    n, variances = len(x), np.diag(covariance)
    assert (np.abs(x.mean(axis=0) - mean) <= 4 * np.sqrt(variances / n) + 1e-12).all()
    error = np.sqrt((np.outer(variances, variances) + covariance**2) / n)
    assert (np.abs(np.cov(x.T) - covariance) <= 4 * error + 1e-12).all()


@pytest.mark.parametrize("name", RULES)
def test_samples_have_the_law_that_is_computed_without_sampling(random_law, rng, name):
    model = random_law([4.0, 1.0, 0.2])
    denoiser, step, n = LinearDenoiser(model), RULES[name][0], 20_000
    exact = law(denoiser, FINE, step=step)
    start = FINE[0] * rng.standard_normal((n, 3))
    for t, state in enumerate(sample(denoiser, model.mean + start, FINE, step=step, rng=rng)):
        modes = (state.x - model.mean) @ model.basis.T
        assert_moments(modes, np.zeros(3), np.diag(exact.variance[t]))
        # response to the start: a regression coefficient, whose error is that of the rest
        fit = (modes * (start @ model.basis.T)).mean(axis=0) / FINE[0] ** 2
        error = np.sqrt((exact.variance[t] / FINE[0] ** 2 + exact.gain[t] ** 2) / n)
        assert (np.abs(fit - exact.gain[t]) <= 4 * error).all()


def test_a_law_needs_only_gains():
    class Half:
        def gains(self, sigma):
            return np.array([0.5])

    np.testing.assert_allclose(
        law(Half(), [2.0, 1.0, 0.0], step=redenoise).gain[:, 0], [1, 0.5, 0.25]
    )


# ---------------------------------------------------------------- closed forms of the theory

LAM = np.array([20.0, 10.0, 5.0, 1.0])


def test_the_gain_of_a_ddim_step_is_the_closed_form():
    sigmas = geometric(6, 0.01, 9.0)
    gain = law(centred(LAM), sigmas).gain
    for t in range(6):
        expected = (LAM + sigmas[t + 1] * sigmas[t]) / (LAM + sigmas[t] ** 2)
        np.testing.assert_allclose(gain[t + 1] / gain[t], expected, rtol=1e-13)


@pytest.mark.parametrize("sigmas", [geometric(1, 1.0, 6.0), geometric(5, 0.1, 6.0), FINE])
def test_the_chain_of_posterior_means_telescopes_whatever_the_schedule(sigmas):
    gain = law(centred(LAM), sigmas, step=ddpm).gain
    expected = (LAM + sigmas[:, None] ** 2) / (LAM + sigmas[0] ** 2)
    np.testing.assert_allclose(gain, expected, rtol=1e-12)


@pytest.mark.parametrize("name", [name for name in RULES if name != "heun"])
def test_one_step_to_the_data_is_the_denoiser_for_every_rule(name):
    exact = law(centred(LAM), [6.0, 0.0], step=RULES[name][0])
    np.testing.assert_allclose(exact.gain[-1], wiener(LAM, 6.0))
    np.testing.assert_allclose(exact.variance[-1], 36 * LAM**2 / (LAM + 36) ** 2)


def test_redenoising_multiplies_the_wiener_gains():
    gain = law(centred(LAM), FINE, step=redenoise).gain[-1]
    np.testing.assert_allclose(gain, np.prod([wiener(LAM, s) for s in FINE[:-1]], axis=0))


@pytest.mark.parametrize(("step", "order"), [(ddim, 1), (heun, 2)])
@pytest.mark.parametrize("last", [0.0, 0.5])
def test_deterministic_samplers_converge_to_the_flow_with_their_order(step, order, last):
    flow = np.sqrt((LAM + last**2) / (LAM + 36))
    errors = []
    for n in (200, 400):
        # uniform in sigma; Heun's last step is Euler's only at level zero, with error n^-2
        sigmas = np.linspace(6.0, last, n + 1)
        errors.append(np.abs(law(centred(LAM), sigmas, step=step).gain[-1] - flow).max())
    assert errors[1] < 0.01
    assert np.log2(errors[0] / errors[1]) == pytest.approx(order, abs=0.1)


@pytest.mark.parametrize("value", [0.0, 0.5, 1.0, 1.2])
def test_the_eta_family_tends_to_its_stochastic_equation(value):
    high, power, errors = 6.0, 1 + value**2, []
    shrunk = LAM / (LAM + high**2)
    injected = [
        value**2 * quad(lambda s, lam=lam: (lam / (lam + s)) ** power, 0, high**2)[0] for lam in LAM
    ]
    # the identity of the theory: what is left of the start and what is added make the data
    np.testing.assert_allclose((LAM + high**2) * shrunk**power + injected, LAM, rtol=1e-10)
    for n in (500, 1000):
        sigmas = geometric(n, 1e-5, high)
        exact = law(centred(LAM), sigmas, step=ddim_eta(value), start=LAM + high**2)
        noise = law(centred(LAM), sigmas, step=ddim_eta(value), start=0.0).variance[-1]
        errors.append(
            [
                np.abs(exact.gain[-1] / shrunk ** (power / 2) - 1).max(),
                np.abs(exact.variance[-1] / LAM - 1).max(),
                np.abs((noise - injected) / LAM).max(),
            ]
        )
    assert np.max(errors[1]) < 0.05
    # first order in the step, where there is an error at all
    for coarse, fine in zip(*errors, strict=True):
        assert coarse < 1e-9 or coarse / fine == pytest.approx(2, abs=0.1)


def test_variances_of_the_theorys_table():
    v = 40.0
    uniform, in_variance = np.linspace(v**0.5, 0, 101), np.sqrt(np.linspace(v, 0, 101))
    table = {
        "ddim, uniform": (law(centred(LAM), uniform), [13.2, 7.9, 4.3, 0.93]),
        "ddim, variance": (law(centred(LAM), in_variance), [12.9, 7.5, 4.0, 0.66]),
    }
    for name, (exact, expected) in table.items():
        digits = 0.5 * 10.0 ** -np.array([1, 1, 1, 2])
        assert (np.abs(exact.variance[-1] - expected) <= digits + 1e-9).all(), name
    fine = geometric(4000, 1e-4, v**0.5)
    ancestral = law(centred(LAM), fine, step=ddpm).variance[-1]
    np.testing.assert_allclose(ancestral, LAM - LAM * (LAM / (LAM + v)) ** 2, rtol=5e-3)
    flow = law(centred(LAM), fine, step=heun).variance[-1]
    np.testing.assert_allclose(flow, v * LAM / (LAM + v), rtol=1e-5)


def test_the_clock_of_ddim_lies_between_zero_and_one_wiener_step_and_is_not_monotone():
    lam = np.array([20.0, 5.0, 1.0])
    clocks = [
        clock(law(centred(lam), geometric(n, 0.002, 80.0)).gain[-1], lam) for n in range(1, 9)
    ]
    wiener_clock = clock(wiener(lam, 80.0), lam)
    np.testing.assert_allclose(clocks[0], wiener_clock)
    assert ((np.array(clocks[1:]) > 0) & (clocks[1:] < wiener_clock)).all()
    # mode 5 for 1, 2, 3, 4 and 6 steps, as the theory states
    np.testing.assert_allclose(
        np.array(clocks)[[0, 1, 2, 3, 5], 0], [0.998, 0.981, 0.261, 0.395, 0.493], atol=5e-4
    )
    fine = clock(law(centred(lam), geometric(4000, 0.002, 80.0)).gain[-1], lam)
    np.testing.assert_allclose(fine, wiener_clock / 2, rtol=1e-2)


# ---------------------------------------------------------------- draw


@pytest.mark.parametrize("name", RULES)
def test_draws_are_jointly_right_at_all_chosen_levels(random_law, rng, name):
    model, n = random_law([4.0, 1.0, 0.2]), 40_000
    step, rule = RULES[name]
    times = (0, 2, -3, -1)
    x = draw(LinearDenoiser(model), FINE, n, step=step, times=times, rng=rng)
    assert x.shape == (4, n, 3)
    w = dense_gain(wiener, model.covariance())
    stops = [t % len(FINE) for t in times]
    _, covariance = dense_law(rule, w, FINE, FINE[0] ** 2 * np.eye(3))
    joint = np.empty((4, 3, 4, 3))
    for i, early in enumerate(stops):
        for j, late in enumerate(stops[i:], start=i):
            # Cov(x_late, x_early) = response between the two, times the variance at the first
            response, _ = dense_law(rule, w, FINE[early : late + 1], np.eye(3))
            joint[j, :, i] = response[-1] @ covariance[early]
            joint[i, :, j] = joint[j, :, i].T
    stacked = x.transpose(1, 0, 2).reshape(n, -1)
    assert_moments(stacked, np.tile(model.mean, 4), joint.reshape(12, 12))


@pytest.mark.parametrize("name", RULES)
def test_draws_have_the_variance_of_the_law_also_outside_a_model_of_low_rank(random_law, rng, name):
    model, n, step = random_law([4.0, 1.0], dim=5, seed=3), 20_000, RULES[name][0]
    padded = np.linalg.qr(np.vstack([model.basis, np.eye(5)]).T)[0].T[:5]
    padded[:2] = model.basis
    complete = Gaussian(model.mean, [4.0, 1.0, 0, 0, 0], padded)
    exact = law(LinearDenoiser(complete), FINE, step=step).variance
    times = (1, 4, 7, 8)
    for t, x in zip(
        times, draw(LinearDenoiser(model), FINE, n, step=step, times=times, rng=rng), strict=True
    ):
        assert_moments((x - model.mean) @ padded.T, np.zeros(5), np.diag(exact[t]))


def test_draws_of_a_model_without_modes_are_noise_about_the_mean(rng):
    point = LinearDenoiser(Gaussian(np.ones(3), [], np.empty((0, 3))))
    x = draw(point, [3.0, 1.0, 0.0], 20_000, step=ddpm, times=(0, 1, 2), rng=rng)
    # ddpm keeps (1/3)^2 of the state and adds 1 - 1/9
    assert_moments(x[0], np.ones(3), 9 * np.eye(3))
    assert_moments(x[1], np.ones(3), (9 / 81 + 1 - 1 / 9) * np.eye(3))
    np.testing.assert_array_equal(x[2], np.ones((20_000, 3)))


def test_a_draw_of_the_end_alone_and_of_the_whole_path_have_one_law(random_law):
    denoiser = LinearDenoiser(random_law([4.0, 1.0]))
    path = draw(denoiser, FINE, 5, times=range(9), rng=np.random.default_rng(1))
    end = draw(denoiser, FINE, 5, rng=np.random.default_rng(1))
    # a deterministic rule: the same start, the same end
    np.testing.assert_allclose(path[-1], end[0], rtol=1e-10)


# ---------------------------------------------------------------- compose


class Scripted(np.random.Generator):
    """A generator whose normal draws are all zero but one, which is the identity."""

    def __init__(self, impulse):
        super().__init__(np.random.PCG64(0))
        self.impulse, self.calls = impulse, 0

    def standard_normal(self, size):
        self.calls += 1
        return np.eye(*size) if self.calls == self.impulse else np.zeros(size)


def changing_bases(dim):
    """An affine denoiser whose mean, rank and basis differ from level to level."""
    levels = {}
    for k, sigma in enumerate(FINE.tolist()):
        rng = np.random.default_rng(k)
        rank = 1 + k % dim
        basis = np.linalg.qr(rng.standard_normal((dim, dim)))[0][:rank]
        model = Gaussian(rng.standard_normal(dim), np.arange(rank, 0, -1.0), basis)
        levels[sigma] = LinearDenoiser(model)
    return lambda y, sigma: levels[sigma](y, sigma)


def oblique(y, sigma):
    """An affine denoiser that is not symmetric."""
    matrix = np.array([[0.9, 0.3, 0.0], [0.0, 0.5, -0.4], [0.2, 0.0, 0.7]]) / (1 + sigma)
    return y @ matrix.T + np.array([1.0, -2.0, sigma])


AFFINE = {"changing bases": changing_bases(3), "not symmetric": oblique}


@pytest.mark.parametrize("kind", AFFINE)
@pytest.mark.parametrize("name", RULES)
def test_a_composed_map_is_the_sampler_step_by_step(rng, name, kind):
    denoiser, step = AFFINE[kind], RULES[name][0]
    total = affine_map(denoiser, FINE, 3, step=step)
    y = 3 * rng.standard_normal((4, 3))

    def end(start, impulse):
        return list(sample(denoiser, start, FINE, step=step, rng=Scripted(impulse)))[-1].x

    mean = end(y, impulse=0)
    np.testing.assert_allclose(y @ total.matrix.T + total.offset, mean, atol=1e-12)
    # the response to a unit of noise at each step, squared and added, is the covariance
    quiet = end(np.zeros((3, 3)), impulse=0)
    responses = [end(np.zeros((3, 3)), impulse=t) - quiet for t in range(1, len(FINE))]
    covariance = sum(response.T @ response for response in responses)
    np.testing.assert_allclose(total.covariance, covariance, atol=1e-12)
    assert (np.abs(total.covariance).max() > 0.01) == (name in ["ddpm", "eta 1", *STOCHASTIC])


@pytest.mark.parametrize("name", RULES)
def test_with_one_basis_the_composed_map_is_the_law(random_law, name):
    model, step = random_law(SPECTRA["generic"]), RULES[name][0]
    denoiser, basis = LinearDenoiser(model), model.basis
    total = affine_map(denoiser, FINE, 4, step=step)
    exact = law(denoiser, FINE, step=step, start=0.0)
    np.testing.assert_allclose(total.matrix, basis.T * exact.gain[-1] @ basis, atol=1e-12)
    np.testing.assert_allclose(total.covariance, basis.T * exact.variance[-1] @ basis, atol=1e-12)
    np.testing.assert_allclose(total.offset, model.mean - total.matrix @ model.mean, atol=1e-12)


# ---------------------------------------------------------------- wrong input

PLANE = centred([2.0, 1.0])
RNG = np.random.default_rng(0)
BAD_SCHEDULES = {
    "increasing": ([0.0, 1.0], "sigmas goes from 0.0 to 1.0 at index 0; expected strictly"),
    "repeated": ([2.0, 1.0, 1.0], "sigmas goes from 1.0 to 1.0 at index 1; expected strictly"),
    "negative": ([1.0, -0.5], "sigmas ends at -0.5; expected standard deviations >= 0"),
    "nan": ([1.0, np.nan], "sigmas is nan at index [1]; expected finite values"),
    "infinite": ([np.inf, 1.0], "sigmas is inf at index [0]; expected finite values"),
    "single": ([1.0], "sigmas has 1 entries; expected at least two levels"),
    "empty": ([], "sigmas has 0 entries; expected at least two levels"),
    "a matrix": ([[1.0, 0.0]], "sigmas has shape (1, 2); expected 1 dimension"),
    "a number": (1.0, "sigmas has shape (); expected 1 dimension"),
}
USERS = {
    "law": lambda sigmas: law(PLANE, sigmas),
    "draw": lambda sigmas: draw(PLANE, sigmas, 3, rng=RNG),
    "compose": lambda sigmas: affine_map(PLANE, sigmas, 2),
    "sample": lambda sigmas: next(sample(PLANE, np.ones((1, 2)), sigmas)),
}


@pytest.mark.parametrize("user", USERS)
@pytest.mark.parametrize("case", BAD_SCHEDULES)
def test_what_is_not_a_schedule_is_refused(user, case):
    sigmas, message = BAD_SCHEDULES[case]
    with pytest.raises(ValueError, match=re.escape(message)):
        USERS[user](sigmas)


DOWN = [2.0, 1.0, 0.0]
WRONG = {
    "start of another length": (
        lambda: law(PLANE, DOWN, start=[1.0, 2.0, 3.0]),
        "expected variances >= 0, a scalar or shape (2,)",
    ),
    "start below zero": (lambda: law(PLANE, DOWN, start=-1.0), "start is -1.0; expected variances"),
    "start of nan": (lambda: law(PLANE, DOWN, start=np.nan), "start is nan; expected variances"),
    "law, eta too large": (
        lambda: law(PLANE, DOWN, step=ddim_eta(3.0)),
        "eta is 3.0 for the step from 2.0 to 1.0; expected at most 1.155 there",
    ),
    "no draws": (lambda: draw(PLANE, DOWN, 0, rng=RNG), "n is 0; expected an integer of at least"),
    "no times": (
        lambda: draw(PLANE, DOWN, 2, times=(), rng=RNG),
        "times is (); expected increasing indices into 3 levels",
    ),
    "times too late": (
        lambda: draw(PLANE, DOWN, 2, times=(3,), rng=RNG),
        "times is (3,); expected",
    ),
    "times too early": (lambda: draw(PLANE, DOWN, 2, times=(-4,), rng=RNG), "times is (-4,)"),
    "times unordered": (lambda: draw(PLANE, DOWN, 2, times=(2, 0), rng=RNG), "times is (2, 0)"),
    "times repeated": (lambda: draw(PLANE, DOWN, 2, times=(-1, 2), rng=RNG), "times is (-1, 2)"),
    "dimension zero": (
        lambda: affine_map(PLANE, DOWN, 0),
        "dim is 0; expected an integer of at least 1",
    ),
    "another dimension": (
        lambda: affine_map(PLANE, DOWN, 3),
        "y has shape (1, 3); expected (n, 2)",
    ),
    "denoiser of a wrong shape": (
        lambda: affine_map(lambda y, sigma: y[:, :1], DOWN, 2),
        "result of the denoiser has shape (1, 1); expected (1, 2)",
    ),
    "denoiser without a shape": (
        lambda: affine_map(lambda y, sigma: 1.0, DOWN, 2),
        "result of the denoiser is of type float; expected ndarray",
    ),
    "denoiser that is not affine": (
        lambda: affine_map(lambda y, sigma: np.tanh(y), DOWN, 2),
        "the denoiser is not affine at sigma 2.0",
    ),
    "not affine at a later level": (
        lambda: affine_map(lambda y, sigma: y**2 if sigma == 1 else 0.5 * y, DOWN, 2),
        "the denoiser is not affine at sigma 1.0",
    ),
}


@pytest.mark.parametrize("case", WRONG)
def test_wrong_input_is_named_with_what_was_expected(case):
    call, message = WRONG[case]
    with pytest.raises(ValueError, match=re.escape(message)):
        call()


UNCHECKED = {
    "a seed below zero": (lambda: draw(PLANE, DOWN, 2, rng=-1), "rng is -1; expected"),
    "a time without a sequence": (
        lambda: draw(PLANE, DOWN, 2, times=2, rng=RNG),
        "times has shape .*; expected 1 dimension",
    ),
    "draw without a linear denoiser": (
        lambda: draw(EmpiricalBayes(np.ones((9, 2))), DOWN, 2, rng=RNG),
        r"^denoiser is EmpiricalBayes\(n=9, dim=2\); expected a LinearDenoiser$",
    ),
    "law without a step rule": (lambda: law(PLANE, DOWN, step="heun"), "step is 'heun'; expected"),
    "decompose without a value of eta": (
        lambda: contributions(PLANE, DOWN, step=ddim_eta),
        "step is ddim_eta without its value",
    ),
    "draw without a step rule": (
        lambda: draw(PLANE, DOWN, 2, step="heun", rng=RNG),
        "step is 'heun'; expected",
    ),
    "compose without a step rule": (
        lambda: affine_map(PLANE, DOWN, 2, step=3),
        "step is 3; expected",
    ),
    "start is a large array": (
        lambda: law(PLANE, DOWN, start=np.ones(10**6)),
        r"^start is of type ndarray and shape \(1000000,\); expected variances",
    ),
    "a fractional time": (lambda: draw(PLANE, DOWN, 2, times=(0.5,), rng=RNG), "times is"),
    "start is text": (lambda: law(PLANE, DOWN, start="white"), "start is 'white'; expected"),
    "a denoiser without gains": (lambda: law(lambda y, sigma: y, DOWN), r"without gains\(sigma\)"),
    "a denoiser that returns nan": (
        lambda: affine_map(lambda y, sigma: np.nan * y, DOWN, 2),
        "denoiser",
    ),
    "not affine at the level that only Heun's corrector sees": (
        lambda: affine_map(
            lambda y, sigma: y**2 if sigma == 1 else y / 2, [2.0, 1.0], 2, step=heun
        ),
        "not affine at sigma 1.0",
    ),
}


@pytest.mark.parametrize("case", UNCHECKED)
def test_unchecked_input_is_named_too(case):
    call, message = UNCHECKED[case]
    with pytest.raises(ValueError, match=message):
        call()


# ---------------------------------------------------------------- where the variance comes from


@pytest.mark.parametrize("step", [ddim, ddpm, heun, redenoise, ddim_eta(0.5), ancestral])
def test_contributions_sum_to_the_variance_of_the_law(step, random_law):
    denoiser = LinearDenoiser(random_law([9.0, 2.0, 0.5, 0.0]))
    sigmas = karras(12, 0.1, 8.0)
    parts = contributions(denoiser, sigmas, step=step)
    whole = law(denoiser, sigmas, step=step)
    np.testing.assert_allclose(
        parts.initial + parts.injected.sum(axis=0), whole.variance[-1], rtol=1e-12, atol=1e-15
    )
    np.testing.assert_allclose(
        parts.initial, whole.gain[-1] ** 2 * sigmas[0] ** 2, rtol=1e-12, atol=1e-15
    )


def test_exact_ancestral_sampling_is_exact_on_any_schedule(rng):
    lam = np.array([20.0, 5.0, 1.0, 0.0])
    denoiser = LinearDenoiser(Gaussian(np.zeros(4), lam, np.eye(4)))
    for steps in (1, 2, 7):
        sigmas = np.append(np.sort(rng.uniform(0.1, 9.0, steps))[::-1], 0.0)
        parts = contributions(denoiser, sigmas, step=ancestral, start=lam + sigmas[0] ** 2)
        # Sigma = Sigma^2 / Sigma_T + sum of increments times Sigma^2 / (Sigma_t Sigma_(t-1))
        np.testing.assert_allclose(parts.initial, lam**2 / (lam + sigmas[0] ** 2), rtol=1e-12)
        s, s_next = sigmas[:-1, None], sigmas[1:, None]
        before, after = lam + s**2, lam + s_next**2
        term = (s**2 - s_next**2) * lam**2 / np.where(lam > 0, before * after, 1.0)
        np.testing.assert_allclose(parts.injected, term, rtol=1e-12, atol=1e-14)
        np.testing.assert_allclose(parts.initial + parts.injected.sum(axis=0), lam, rtol=1e-12)


def test_ancestral_samples_and_composed_maps_have_the_law(random_law, rng):
    model = random_law([9.0, 2.0], dim=3)
    denoiser, sigmas = LinearDenoiser(model), np.array([4.0, 1.0, 0.5])
    exact = law(denoiser, sigmas, step=ancestral)
    y = model.mean + sigmas[0] * rng.standard_normal((40_000, 3))
    *_, last = sample(denoiser, y, sigmas, step=ancestral, rng=rng)
    drawn = draw(denoiser, sigmas, 40_000, step=ancestral, rng=rng)[0]
    for x in (last.x, drawn):
        inside = (x - model.mean) @ model.basis.T
        np.testing.assert_allclose(inside.var(axis=0), exact.variance[-1], rtol=0.04)  # 5 errors
    total = affine_map(denoiser, sigmas, 3, step=ancestral)
    covariance = total.covariance + sigmas[0] ** 2 * total.matrix @ total.matrix.T
    inside = model.basis @ covariance @ model.basis.T
    np.testing.assert_allclose(inside, np.diag(exact.variance[-1]), atol=1e-12)
    outside = last.x - model.mean - ((last.x - model.mean) @ model.basis.T) @ model.basis
    # outside the span the data have no variance: the noise of the last level is left
    assert np.isclose(
        (outside**2).sum(axis=1).mean(), np.trace(covariance) - np.trace(inside), rtol=0.04
    )


def test_a_mode_wise_step_needs_a_linear_denoiser(rng):
    with pytest.raises(ValueError, match="expected a LinearDenoiser for this step rule"):
        list(sample(lambda y, s: y / 2, np.ones((2, 3)), [1.0, 0.5], step=ancestral, rng=rng))


@pytest.mark.parametrize("value", [0.0, 0.5, 1.0])
def test_the_stochastic_family_splits_the_covariance_as_its_identity_says(value):
    lam, v = np.array([20.0, 10.0, 5.0, 1.0]), 40.0
    power = 1 + value**2
    initial = (lam + v) * (lam / (lam + v)) ** power
    injected = [value**2 * quad(lambda s, a=a: (a / (a + s)) ** power, 0, v)[0] for a in lam]
    np.testing.assert_allclose(initial + injected, lam, rtol=1e-8)
    denoiser = LinearDenoiser(Gaussian(np.zeros(4), lam, np.eye(4)))
    gaps = []
    for steps in (1000, 2000):
        sigmas = np.append(np.geomspace(np.sqrt(v), 1e-3, steps), 0.0)
        parts = contributions(denoiser, sigmas, step=ddim_eta(value), start=lam + v)
        np.testing.assert_allclose(parts.initial, initial, rtol=0.02)
        gaps.append(np.abs(parts.initial - initial).max())
        np.testing.assert_allclose(parts.injected.sum(axis=0), injected, atol=0.02 * lam[0])
    if value == 1:
        assert max(gaps) < 1e-12  # the posterior means telescope: exact on any schedule
    else:
        assert gaps[1] < 0.55 * gaps[0]  # first order in the step: the gap is the steps', not ours


def test_numbers_of_the_chapter_on_the_clock():
    lam, v = np.array([20.0, 10.0, 5.0, 1.0]), 40.0
    denoiser = LinearDenoiser(Gaussian(np.zeros(4), lam, np.eye(4)))
    uniform = np.linspace(np.sqrt(v), 0.0, 101)
    np.testing.assert_allclose(
        law(denoiser, uniform, step=ddim).variance[-1], [13.2, 7.9, 4.3, 0.93], atol=0.05
    )
    in_variance = np.sqrt(np.linspace(v, 0.0, 101))
    np.testing.assert_allclose(
        law(denoiser, in_variance, step=ddim).variance[-1], [12.9, 7.5, 4.0, 0.66], atol=0.05
    )
    exact = contributions(denoiser, uniform, step=ancestral, start=np.full(4, v))
    np.testing.assert_allclose(
        exact.initial + exact.injected.sum(axis=0), lam - lam * (lam / (lam + v)) ** 2, rtol=1e-12
    )


def test_the_chain_of_posterior_means_telescopes(rng):
    lam = np.array([20.0, 10.0, 5.0, 1.0])
    denoiser = LinearDenoiser(Gaussian(np.zeros(4), lam, np.eye(4)))
    sigmas = np.append(np.sort(rng.uniform(0.1, 6.0, 40))[::-1], 0.0)
    gain = law(denoiser, sigmas, step=ddpm).gain[-1]  # its mean is the posterior mean
    np.testing.assert_allclose(gain, lam / (lam + sigmas[0] ** 2), rtol=1e-12)


# ---------------------------------------------------------------- guidance


@pytest.mark.parametrize(
    ("weight", "one", "pool"), [(1.5, 2.0, 5.0), (2.5, 6.0, 5.0), (4.0, 1.0, 3.0)]
)
def test_one_guidance_weight_has_the_variances_of_flow_and_equation(weight, one, pool):
    ratio = one / pool
    average = quad(lambda a: (ratio + (1 - ratio) * a) ** (2 * weight - 2), 0, 1)[0]
    pair = [LinearDenoiser(Gaussian([0.0], [v], [[1.0]])) for v in (one, pool)]
    guided = GuidedDenoiser(*pair, weight)
    sigmas = geometric(2000, 1e-2, 1e3)  # h = 0.012 in log sigma^2: DDPM errs by some h / 2
    for step, expected, error in (
        (heun, one * ratio ** (weight - 1), 1e-3),
        (ddpm, one * average, 2e-2),
    ):
        found = law(guided, sigmas, step=step).variance[-1, 0]
        assert found == pytest.approx(expected, rel=error)


def test_a_guided_sampler_keeps_to_the_law_of_its_determinant():
    rng = np.random.default_rng(3)
    laws = [Gaussian.fit(rng.standard_normal((9, 3))) for _ in range(2)]  # no common basis
    guided = GuidedDenoiser(*map(LinearDenoiser, laws), 2.5)
    sigmas = geometric(300, 1e-3, 1e2)
    response = sigmas[0] * affine_map(guided, sigmas, 3, step=heun).matrix
    one, pool = (np.log(law.eigenvalues).sum() for law in laws)
    found = 2 * np.linalg.slogdet(response)[1]
    assert found == pytest.approx(2.5 * one - 1.5 * pool, abs=0.01)


@pytest.mark.parametrize("step", [ddim, ddpm, heun, ddim_eta(0.5)])
def test_the_law_of_a_guided_denoiser_is_its_affine_map(random_law, step):
    pool = random_law([3.0, 2.0, 1.0])
    one = Gaussian(pool.mean, [4.0, 0.5, 0.1], pool.basis)
    guided = GuidedDenoiser(LinearDenoiser(one), LinearDenoiser(pool), 3.0)
    end, dim = law(guided, FINE, step=step), pool.dim
    total = affine_map(guided, FINE, dim, step=step)
    covariance = FINE[0] ** 2 * total.matrix @ total.matrix.T + total.covariance
    along = pool.basis @ covariance @ pool.basis.T
    np.testing.assert_allclose(along, np.diag(end.variance[-1]), atol=1e-12)
