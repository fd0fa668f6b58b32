"""Samplers: the loop, array types, and agreement with the schedulers of diffusers."""

import re
from itertools import islice

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lindiff.denoisers import LinearDenoiser
from lindiff.gaussian import Gaussian
from lindiff.mixtures import EmpiricalBayes, GaussianMixture
from lindiff.samplers import ancestral, ddim, ddim_eta, ddpm, heun, redenoise, sample
from lindiff.schedules import from_betas, geometric, karras, to_vp

SIGMAS = geometric(8, 0.2, 3.0)
STEPS = {
    "ddim": ddim,
    "ddpm": ddpm,
    "heun": heun,
    "redenoise": redenoise,
    "eta 0.5": ddim_eta(0.5),
    "eta 1.2": ddim_eta(1.2),
}
STOCHASTIC = ["ddpm", "eta 0.5", "eta 1.2"]
DETERMINISTIC = ["ddim", "heun", "redenoise"]


def denoisers():
    """One denoiser of each kind in four dimensions."""
    rng = np.random.default_rng(0)
    basis = np.linalg.qr(rng.standard_normal((4, 4)))[0]
    model = Gaussian(np.ones(4), [3.0, 1.0], basis[:2])
    other = Gaussian(-np.ones(4), [1.0, 0.5, 0.2], basis[1:])
    return {
        "linear": LinearDenoiser(model),
        "mixture": GaussianMixture([0.3, 0.7], [model, other]),
        "empirical": EmpiricalBayes(rng.standard_normal((6, 4))),
    }


DENOISERS = denoisers()


def run(denoiser, y, sigmas=SIGMAS, **options):
    """All states of a sampler, seeded."""
    return list(sample(denoiser, y, sigmas, rng=np.random.default_rng(5), **options))


@pytest.fixture
def y(rng):
    """States at the first level."""
    return SIGMAS[0] * rng.standard_normal((5, 4))


# ---------------------------------------------------------------- the loop


@pytest.mark.parametrize("name", STEPS)
def test_a_sampler_visits_every_level_once_with_state_and_denoised_state(y, name):
    denoiser = DENOISERS["linear"]
    states = run(denoiser, y, step=STEPS[name])
    assert [state.sigma for state in states] == SIGMAS.tolist()
    assert states[0].x is y
    for state in states[:-1]:
        np.testing.assert_array_equal(state.denoised, denoiser(state.x, state.sigma))
    assert states[-1].denoised is states[-1].x


@pytest.mark.parametrize("name", STEPS)
def test_a_schedule_that_ends_above_zero_stops_there(y, name):
    denoiser = DENOISERS["mixture"]
    states = run(denoiser, y, SIGMAS[:-1], step=STEPS[name])
    assert states[-1].sigma == SIGMAS[-2]
    np.testing.assert_array_equal(states[-1].denoised, denoiser(states[-1].x, SIGMAS[-2]))
    # up to there it is the same run
    whole = run(denoiser, y, step=STEPS[name])
    np.testing.assert_array_equal(states[-1].x, whole[-2].x)


@pytest.mark.parametrize(("name", "calls_per_step"), [("ddim", 1), ("ddpm", 1), ("heun", 2)])
def test_a_sampler_works_only_as_far_as_it_is_asked(y, name, calls_per_step):
    calls = []

    def denoiser(x, sigma):
        calls.append(sigma)
        return 0.5 * x

    states = sample(
        denoiser, y, geometric(10**6, 1e-3, 80.0), step=STEPS[name], rng=np.random.default_rng(0)
    )
    assert calls == []
    next(states)
    assert len(calls) == 1
    assert len(list(islice(states, 3))) == 3
    assert len(calls) == 1 + 3 * calls_per_step


@pytest.mark.parametrize(("name", "calls"), [("ddim", 8), ("redenoise", 8), ("heun", 15)])
def test_a_run_costs_one_call_a_step_and_heun_two_but_for_the_last(y, name, calls):
    seen = []

    def denoiser(x, sigma):
        seen.append(sigma)
        return 0.5 * x

    run(denoiser, y, step=STEPS[name])
    assert len(seen) == calls
    assert min(seen) > 0


@pytest.mark.parametrize("name", STEPS)
def test_a_run_does_not_change_the_state_it_is_given(y, name):
    before = y.copy()
    run(DENOISERS["linear"], y, step=STEPS[name])
    np.testing.assert_array_equal(y, before)


@pytest.mark.parametrize("wrap", [np.array, torch.tensor], ids=["numpy", "torch"])
@pytest.mark.parametrize("name", STEPS)
def test_a_denoiser_may_work_in_place(y, name, wrap):
    def polite(x, sigma):
        return 3 + (x - 3) / (1 + sigma**2)

    def greedy(x, sigma):
        x -= 3
        x /= 1 + sigma**2
        x += 3
        return x

    start = wrap(y)
    expected, states = run(polite, wrap(y), step=STEPS[name]), run(greedy, start, step=STEPS[name])
    np.testing.assert_array_equal(np.asarray(start), y)
    for state, wanted in zip(states, expected, strict=True):
        np.testing.assert_array_equal(np.asarray(state.x), np.asarray(wanted.x))
        np.testing.assert_array_equal(np.asarray(state.denoised), np.asarray(wanted.denoised))


def test_heuns_step_alone_is_right_for_a_denoiser_that_works_in_place(y):
    def greedy(x, sigma):
        x *= 0.5
        return x

    before = y.copy()
    mean, _ = heun(y, 0.5 * y, 2.0, 1.0, greedy)
    np.testing.assert_array_equal(mean, heun(y, 0.5 * y, 2.0, 1.0, lambda x, sigma: 0.5 * x)[0])
    np.testing.assert_array_equal(y, before)


def test_gradients_flow_through_a_denoiser_that_works_in_place(y):
    start = torch.from_numpy(y).requires_grad_()
    end = run(lambda x, sigma: x.mul_(0.5), start, [3.0, 1.0, 0.0], step=redenoise)[-1].x
    end.sum().backward()
    np.testing.assert_allclose(start.grad.numpy(), 0.25)


def test_a_rule_of_ones_own_may_hand_back_the_state_itself(y):
    before = y.copy()
    first, second, _ = run(DENOISERS["linear"], y, [3.0, 1.0, 0.5], step=lambda x, *_: (x, 0.5))
    np.testing.assert_array_equal(first.x, before)
    noise = np.random.default_rng(5).standard_normal(y.shape)
    np.testing.assert_array_equal(second.x, before + 0.5 * noise)


@pytest.mark.parametrize("name", STEPS)
def test_a_run_is_a_function_of_the_generator(y, name):
    first, again = (run(DENOISERS["mixture"], y, step=STEPS[name])[-1].x for _ in range(2))
    np.testing.assert_array_equal(first, again)
    other = list(
        sample(DENOISERS["mixture"], y, SIGMAS, step=STEPS[name], rng=np.random.default_rng(6))
    )[-1].x
    assert np.array_equal(first, other) == (name in DETERMINISTIC)


@pytest.mark.parametrize("name", DETERMINISTIC)
def test_deterministic_rules_need_no_generator(y, name):
    states = list(sample(DENOISERS["linear"], y, SIGMAS, step=STEPS[name]))
    np.testing.assert_array_equal(states[-1].x, run(DENOISERS["linear"], y, step=STEPS[name])[-1].x)


# ---------------------------------------------------------------- the rules among themselves


@pytest.mark.parametrize(("value", "rule"), [(0.0, ddim), (1.0, ddpm)])
def test_the_ends_of_the_eta_family_are_ddim_and_ddpm(y, value, rule):
    family = run(DENOISERS["mixture"], y, step=ddim_eta(value))
    named = run(DENOISERS["mixture"], y, step=rule)
    for a, b in zip(family, named, strict=True):
        np.testing.assert_array_equal(a.x, b.x)


@pytest.mark.parametrize("kind", DENOISERS)
def test_every_rule_but_heuns_ends_a_run_with_the_denoised_state(y, kind):
    for step in [ddim, ddpm, heun, redenoise, ddim_eta(0.5)]:
        states = run(DENOISERS[kind], y, step=step)
        np.testing.assert_allclose(states[-1].x, states[-2].denoised, rtol=1e-12)


def test_redenoising_is_the_denoiser_again_and_again(y):
    x = y
    for sigma in SIGMAS[:-1]:
        x = DENOISERS["empirical"](x, sigma)
    np.testing.assert_allclose(run(DENOISERS["empirical"], y, step=redenoise)[-1].x, x)


@given(
    ratio=st.floats(1e-6, 1 - 1e-6),
    sigma=st.floats(1e-8, 1e8),
    value=st.floats(0, 1),
    d=st.floats(-1, 1),
)
def test_a_step_from_clean_data_plus_noise_arrives_at_the_noise_of_the_next_level(
    ratio, sigma, value, d
):
    # x = d + sigma z: what is kept of the noise and what is added have variance sigma_next^2
    sigma_next = ratio * sigma
    mean, noise = ddim_eta(value)(d + sigma, d, sigma, sigma_next, denoiser=None)
    # the difference from d loses the digits that d and sigma do not share
    assert np.hypot(mean - d, noise) == pytest.approx(sigma_next, rel=1e-7, abs=1e-12 * (1 + sigma))
    assert 0 <= noise <= sigma_next


@pytest.mark.parametrize("name", ["ddim", "ddpm", "heun", "redenoise", "eta 0.5"])
@given(exponent=st.floats(-7, 7), n=st.integers(1, 6))
def test_samplers_are_equivariant_to_the_unit_of_the_data(name, exponent, n):
    unit = 10.0**exponent
    model = Gaussian([1.0, -2.0], [3.0, 0.5], np.eye(2))
    large = Gaussian(unit * model.mean, unit**2 * model.eigenvalues, model.basis)
    sigmas, y = geometric(n, 0.1, 5.0), np.array([[4.0, -3.0]])
    end = run(LinearDenoiser(model), y, sigmas, step=STEPS[name])[-1].x
    scaled = run(LinearDenoiser(large), unit * y, unit * sigmas, step=STEPS[name])[-1].x
    np.testing.assert_allclose(scaled, unit * end, rtol=1e-9)


@pytest.mark.parametrize("n", [1, 3])
@pytest.mark.parametrize("dim", [1, 2])
@pytest.mark.parametrize("name", STEPS)
def test_a_point_is_generated_from_any_start(rng, name, dim, n):
    point = LinearDenoiser(Gaussian(np.full(dim, 2.0), [], np.empty((0, dim))))
    end = run(point, 3 * rng.standard_normal((n, dim)), step=STEPS[name])[-1].x
    np.testing.assert_array_equal(end, np.full((n, dim), 2.0))


def test_the_noise_of_the_exact_ancestral_step_has_the_colour_of_the_level_it_leaves(y):
    # Gaussian data: cov[x_next | x] = s'^2 (1 - rho) + (1 - rho)^2 cov[x | x_t], with the posterior
    # covariance of x by Schur's complement.
    basis = np.linalg.qr(np.random.default_rng(2).standard_normal((4, 4)))[0]
    denoiser, high, low = LinearDenoiser(Gaussian(np.ones(4), [4.0, 2, 1, 0.1], basis)), 2.0, 0.5
    clean = denoiser.model.covariance()
    posterior = clean - clean @ np.linalg.inv(clean + high**2 * np.eye(4)) @ clean
    rho = (low / high) ** 2
    expected = low**2 * (1 - rho) * np.eye(4) + (1 - rho) ** 2 * posterior
    white = np.random.default_rng(5).standard_normal(y.shape)
    values, vectors = np.linalg.eigh(expected)
    mean = rho * y + (1 - rho) * denoiser(y, high)
    found = run(denoiser, y, [high, low], step=ancestral)[-1].x
    np.testing.assert_allclose(
        found, mean + white @ (vectors * np.sqrt(values)) @ vectors.T, atol=1e-12
    )


# ---------------------------------------------------------------- array types


@pytest.mark.parametrize("kind", DENOISERS)
@pytest.mark.parametrize("name", STEPS)
def test_numpy_and_torch_give_the_same_trajectories(y, name, kind):
    arrays = run(DENOISERS[kind], y, step=STEPS[name])
    tensors = run(DENOISERS[kind], torch.from_numpy(y), step=STEPS[name])
    for a, b in zip(arrays, tensors, strict=True):
        assert b.x.dtype == b.denoised.dtype == torch.float64
        np.testing.assert_allclose(b.x.numpy(), a.x, rtol=1e-10, atol=1e-12)
        np.testing.assert_allclose(b.denoised.numpy(), a.denoised, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("wrap", [np.asarray, torch.from_numpy], ids=["numpy", "torch"])
@pytest.mark.parametrize("kind", DENOISERS)
@pytest.mark.parametrize("name", STEPS)
def test_single_precision_stays_single(y, name, kind, wrap):
    single = wrap(y.astype(np.float32))
    exact = run(DENOISERS[kind], y, step=STEPS[name])
    for state, reference in zip(run(DENOISERS[kind], single, step=STEPS[name]), exact, strict=True):
        assert state.x.dtype == state.denoised.dtype == single.dtype
        # rounding of 1e-7, amplified where the posterior of a mixture is undecided
        np.testing.assert_allclose(np.asarray(state.x), reference.x, atol=1e-4)


@pytest.mark.parametrize("name", STEPS)
def test_images_are_sampled_like_the_rows_they_flatten_to(y, name):
    denoiser = DENOISERS["linear"]

    def on_images(x, sigma):
        return denoiser(x.reshape(-1, 4), sigma).reshape(x.shape)

    flat = run(denoiser, y, step=STEPS[name])[-1].x
    images = run(on_images, torch.from_numpy(y.reshape(5, 1, 2, 2)), step=STEPS[name])[-1].x
    assert images.shape == (5, 1, 2, 2)
    np.testing.assert_allclose(images.numpy().reshape(5, 4), flat, rtol=1e-12)


def test_gradients_flow_through_a_sampler(y):
    start = torch.from_numpy(y[:1]).requires_grad_()
    end = run(DENOISERS["linear"], start)[-1].x
    end[0, 0].backward()
    assert torch.isfinite(start.grad).all()
    assert start.grad.abs().max() > 0


# ---------------------------------------------------------------- diffusers

BETAS = np.linspace(1e-3, 0.1, 60)  # down to a signal of 5 percent


class Diffusers:
    """A scheduler of diffusers driven by a denoiser of this package, in exploding coordinates."""

    def __init__(self, name, **config):
        import diffusers

        self.scheduler = getattr(diffusers, name)(
            num_train_timesteps=len(BETAS), trained_betas=BETAS.tolist(), **config
        )
        # the scheduler holds 1 - alpha_bar in single precision: replace it by the exact numbers
        self.scheduler.alphas_cumprod = torch.cumprod(1 - torch.from_numpy(BETAS), 0)

    def preserving(self, n):
        """Levels of the timesteps that DDIM and DDPM visit, by way of from_betas."""
        self.scheduler.set_timesteps(n)
        ascending = from_betas(BETAS)[::-1]  # entry t + 1 belongs to timestep t
        return np.append(ascending[self.scheduler.timesteps.numpy() + 1], 0.0)

    def run_preserving(self, denoiser, y, sigmas, **options):
        """States in exploding coordinates, from a sampler in preserving ones."""
        x = to_vp(torch.from_numpy(y), sigmas[0])
        for t, sigma, after in zip(self.scheduler.timesteps, sigmas, sigmas[1:], strict=False):
            exploding = x * (1 + sigma**2) ** 0.5
            noise = (exploding - denoiser(exploding, sigma)) / sigma
            x = self.scheduler.step(noise, t, x, **options).prev_sample
            yield (x * (1 + after**2) ** 0.5).numpy()

    def run_exploding(self, denoiser, y):
        """States of Euler and Heun, which work in exploding coordinates."""
        x = torch.from_numpy(y)
        for t in self.scheduler.timesteps:
            self.scheduler.scale_model_input(x, t)
            sigma = float(self.scheduler.sigmas[self.scheduler.step_index])
            x = self.scheduler.step((x - denoiser(x, sigma)) / sigma, t, x).prev_sample
            yield x.numpy()


def assert_same_path(ours, theirs, tolerance):
    theirs = list(theirs)
    assert len(ours) == len(theirs) + 1
    for state, x in zip(ours[1:], theirs, strict=True):
        assert np.linalg.norm(state.x - x) <= tolerance * np.linalg.norm(x)


@pytest.mark.parametrize("n", [60, 12, 1])
def test_ddim_is_that_of_diffusers(y, n):
    peer = Diffusers("DDIMScheduler", clip_sample=False)
    sigmas = peer.preserving(n)
    ours = run(DENOISERS["linear"], y, sigmas, step=ddim)
    assert_same_path(ours, peer.run_preserving(DENOISERS["linear"], y, sigmas), 1e-10)


@pytest.mark.parametrize("value", [0.5, 1.0])
@pytest.mark.parametrize("n", [60, 12])
def test_the_eta_family_is_that_of_diffusers_with_the_same_noise(monkeypatch, y, n, value):
    peer = Diffusers("DDIMScheduler", clip_sample=False)
    sigmas = peer.preserving(n)
    ours = run(DENOISERS["linear"], y, sigmas, step=ddim_eta(value))
    share_noise(monkeypatch, "ddim")
    theirs = peer.run_preserving(DENOISERS["linear"], y, sigmas, eta=value)
    assert_same_path(ours, theirs, 1e-10)


@pytest.mark.parametrize("n", [60, 12])
def test_ddpm_is_that_of_diffusers_with_the_same_noise(monkeypatch, y, n):
    peer = Diffusers("DDPMScheduler", variance_type="fixed_small", clip_sample=False)
    sigmas = peer.preserving(n)
    ours = run(DENOISERS["linear"], y, sigmas, step=ddpm)
    share_noise(monkeypatch, "ddpm")
    assert_same_path(ours, peer.run_preserving(DENOISERS["linear"], y, sigmas), 1e-10)


def share_noise(monkeypatch, scheduler):
    """Let a scheduler of diffusers draw the noise that `run` draws."""
    rng = np.random.default_rng(5)
    monkeypatch.setattr(
        f"diffusers.schedulers.scheduling_{scheduler}.randn_tensor",
        lambda shape, **_: torch.from_numpy(rng.standard_normal(tuple(shape))),
    )


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # diffusers
@pytest.mark.parametrize("spacing", [{"use_karras_sigmas": True}, {"timestep_spacing": "linspace"}])
@pytest.mark.parametrize(
    ("peer", "step"), [("EulerDiscreteScheduler", ddim), ("HeunDiscreteScheduler", heun)]
)
def test_euler_and_heun_are_those_of_diffusers(y, peer, step, spacing):
    peer = Diffusers(peer, **spacing)
    peer.scheduler.set_timesteps(12)
    # Heun's scheduler lists the inner levels twice
    sigmas = np.unique(peer.scheduler.sigmas.double().numpy())[::-1]
    assert sigmas.shape == (13,)
    if "use_karras_sigmas" in spacing:
        # float32 levels
        np.testing.assert_allclose(sigmas, karras(12, sigmas[-2], sigmas[0]), rtol=1e-5)
    theirs = list(peer.run_exploding(DENOISERS["linear"], y))
    if step is heun:  # every second state is an Euler predictor, but for the last step
        theirs = theirs[1:-1:2] + theirs[-1:]
    ours = run(DENOISERS["linear"], y, sigmas, step=step)
    # these schedulers step in single precision
    assert_same_path(ours, theirs, 1e-5)


# ---------------------------------------------------------------- wrong input

LINEAR = DENOISERS["linear"]
Y = np.ones((3, 4))
WRONG = {
    "y is a list": (lambda: run(LINEAR, [[1.0] * 4]), "y is a list; expected an array"),
    "y is a number": (lambda: run(LINEAR, 1.0), "y is a float; expected an array"),
    "y of another dimension": (
        lambda: run(LINEAR, np.ones((3, 5))),
        "y has shape (3, 5); expected (n, 4)",
    ),
    "y with nan": (lambda: run(LINEAR, np.nan * Y), "y contains nan or inf; expected finite"),
    "denoiser of a wrong shape": (
        lambda: run(lambda y, sigma: y[:1], Y),
        "result of the denoiser has shape (1, 4); expected (3, 4)",
    ),
    "denoiser without a shape": (
        lambda: run(lambda y, sigma: 0.0, Y),
        "result of the denoiser is of type float; expected ndarray",
    ),
    "denoiser that returns a tuple": (
        lambda: run(lambda y, sigma: (y, y), Y),
        "result of the denoiser is of type tuple; expected ndarray, as the state is",
    ),
    "denoiser that returns torch for numpy": (
        lambda: run(lambda y, sigma: torch.from_numpy(y), Y),
        "result of the denoiser is of type Tensor; expected ndarray, as the state is",
    ),
    "denoiser that returns numpy for torch": (
        lambda: run(lambda y, sigma: y.numpy(), torch.from_numpy(Y)),
        "result of the denoiser is of type ndarray; expected Tensor, as the state is",
    ),
    "a text for a generator": (
        lambda: next(sample(LINEAR, Y, SIGMAS, rng="0")),
        "rng is '0'; expected a numpy.random.Generator",
    ),
    "a generator of torch": (
        lambda: next(sample(LINEAR, Y, SIGMAS, step=ddpm, rng=torch.Generator())),
        "expected a numpy.random.Generator",
    ),
    "step is a name": (
        lambda: run(LINEAR, Y, step="heun"),
        "step is 'heun'; expected a step rule, such as heun or ddim_eta(0.5)",
    ),
    "eta without its value": (
        lambda: run(LINEAR, Y, step=ddim_eta),
        "step is ddim_eta without its value; expected a step rule, such as heun or ddim_eta(0.5)",
    ),
    "denoiser of a wrong shape at the last level": (
        lambda: run(lambda y, sigma: y if sigma > 1 else y[:1], Y, [2.0, 1.0]),
        "result of the denoiser has shape (1, 4); expected (3, 4)",
    ),
    "eta below zero": (lambda: ddim_eta(-0.5), "eta is -0.5; expected a finite number >= 0"),
    "eta of nan": (lambda: ddim_eta(np.nan), "eta is nan; expected a finite number >= 0"),
    "eta infinite": (lambda: ddim_eta(np.inf), "eta is inf; expected a finite number >= 0"),
    "eta too large for a step": (
        lambda: run(LINEAR, Y, [2.0, 1.0, 0.0], step=ddim_eta(1.2)),
        "eta is 1.2 for the step from 2.0 to 1.0; expected at most 1.155 there",
    ),
}


@pytest.mark.parametrize("case", WRONG)
def test_wrong_input_is_named_with_what_was_expected(case):
    call, message = WRONG[case]
    with pytest.raises(ValueError, match=re.escape(message)):
        call()


@pytest.mark.parametrize("ratio", [1e-3, 0.5, 0.9])
def test_the_bound_on_eta_is_sharp(ratio):
    largest = 1 / np.sqrt(1 - ratio**2)
    ddim_eta(largest * (1 - 1e-9))(1.0, 0.0, 1.0, ratio, denoiser=None)
    with pytest.raises(ValueError, match=re.escape(f"at most {largest:.4g} there")):
        ddim_eta(largest * (1 + 1e-9))(1.0, 0.0, 1.0, ratio, denoiser=None)


def test_ddpm_keeps_the_square_of_the_ratio_also_on_coarse_steps():
    for ratio in (1e-2, 1e-4, 1e-6):
        mean, _ = ddpm(1.0, 0.0, 1.0, ratio, denoiser=None)
        assert mean == pytest.approx(ratio**2, rel=1e-10, abs=0)


def test_a_denoiser_that_returns_nan_is_reported():
    with pytest.raises(ValueError, match="result of the denoiser"):
        run(lambda y, sigma: np.nan * y, Y)


def test_a_sampler_can_be_mapped_over_by_torch(y):
    rows = torch.from_numpy(y)
    ends = torch.func.vmap(lambda one: run(DENOISERS["linear"], one[None])[-1].x[0])(rows)
    torch.testing.assert_close(ends, run(DENOISERS["linear"], rows)[-1].x, rtol=1e-10, atol=1e-12)
