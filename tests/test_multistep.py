"""Multistep rules: the memory of a run, exact laws, orders, and agreement with diffusers."""

from itertools import pairwise

import numpy as np
import pytest
import torch

from lindiff.denoisers import LinearDenoiser
from lindiff.gaussian import Gaussian
from lindiff.laws import affine_map, contributions, draw, law
from lindiff.mixtures import GaussianMixture
from lindiff.multistep import Multistep, dpmpp_2m
from lindiff.samplers import ddim, heun, sample
from lindiff.schedules import geometric, karras
from lindiff.testing import sampler_report

LEVELS = karras(7, 0.1, 9.0)


def centred(eigenvalues):
    """Wiener denoiser of a centred law."""
    n = len(eigenvalues)
    return LinearDenoiser(Gaussian(np.zeros(n), eigenvalues, np.eye(n)))


def companion(lam, sigmas):
    """Response to the start, by the matrix of two estimates and the state, written out."""
    total, before = np.array([1.0, 0.0]), None  # state, and the estimate of the level before
    for sigma, lower in pairwise(sigmas):
        gain, keep = lam / (lam + sigma**2), lower / sigma
        share = 0.0
        if before is not None and lower > 0:
            share = np.log(sigma / lower) / (2 * np.log(before / sigma))
        move = np.array([[keep + (1 - keep) * (1 + share) * gain, -(1 - keep) * share], [gain, 0]])
        total, before = move @ total, sigma
    return total[0]


@pytest.mark.parametrize("sigmas", [LEVELS, LEVELS[:-1], geometric(40, 1e-3, 50.0), [5.0, 0.0]])
def test_the_law_is_that_of_the_companion_matrix(sigmas):
    lam = np.array([9.0, 1.0, 0.04, 0.0])
    exact = law(centred(lam), sigmas, step=dpmpp_2m, start=[4.0, 3.0, 2.0, 1.0])
    expected = [companion(value, sigmas) for value in lam]
    np.testing.assert_allclose(exact.gain[-1], expected, rtol=1e-11, atol=1e-15)
    np.testing.assert_allclose(exact.variance[-1], exact.gain[-1] ** 2 * [4, 3, 2, 1], rtol=1e-11)


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # diffusers
@pytest.mark.parametrize("n", [6, 15, 40])
def test_2m_is_that_of_diffusers(rng, n):
    diffusers = pytest.importorskip("diffusers")
    peer = diffusers.DPMSolverMultistepScheduler(
        prediction_type="sample", lower_order_final=False, final_sigmas_type="zero"
    )
    peer.set_timesteps(n)
    theirs = rng.standard_normal((4, 3))
    # noise to signal, and variance-preserving states: x / sqrt(1 + sigma^2)
    sigmas = peer.sigmas.double().numpy()
    scales = np.sqrt(1 + sigmas**2)
    denoiser = LinearDenoiser(Gaussian(np.ones(3), [2.0, 0.5, 0.1], np.eye(3)))
    ours = [s.x for s in sample(denoiser, scales[0] * theirs, sigmas, step=dpmpp_2m)]
    state = torch.tensor(theirs)
    for k, time in enumerate(peer.timesteps[:-1]):  # the last step of theirs is not ours
        output = denoiser(scales[k] * state.numpy(), sigmas[k])
        state = peer.step(torch.tensor(output), time, state).prev_sample
        # these schedulers keep their levels in single precision
        np.testing.assert_allclose(scales[k + 1] * state.numpy(), ours[k + 1], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(("last", "order"), [(0.5, 2), (0.1, 2)])
def test_its_order_is_two(last, order):
    lam = np.array([4.0, 1.0, 0.25])
    exact = np.sqrt((lam + last**2) / (lam + 100))
    errors = []
    for n in (400, 800):
        levels = 10 * (last / 10) ** np.linspace(0, 1, n + 1)
        errors.append(np.abs(law(centred(lam), levels, step=dpmpp_2m).gain[-1] / exact - 1).max())
    assert np.log2(errors[0] / errors[1]) == pytest.approx(order, abs=0.05)


@pytest.mark.parametrize(("step", "slope"), [(dpmpp_2m, 1 / 32), (heun, 1 / 16)])
def test_on_geometric_levels_all_modes_gain_the_same(step, slope):
    lam = np.geomspace(0.5, 2.0, 9)
    h = 0.1
    levels = np.append(np.exp(h / 2 * np.arange(400, -401, -1)), 0.0)
    share = law(centred(lam[::-1]), levels, step=step).variance[-1] / lam[::-1]
    assert np.ptp(share) < 1e-7
    # the next term is smaller by about h / 10
    np.testing.assert_allclose(np.log(share) / h**2, slope, rtol=0.03)


def test_runs_do_not_share_their_memory(rng):
    denoiser = centred([4.0, 1.0])
    y = 9 * rng.standard_normal((5, 2))
    *_, alone = sample(denoiser, y, LEVELS, step=dpmpp_2m)
    first, second = (sample(denoiser, x, LEVELS, step=dpmpp_2m) for x in (y, 2 * y))
    *_, last = (one for one, _ in zip(first, second, strict=True))
    np.testing.assert_array_equal(last.x, alone.x)


class Reusing:
    """A denoiser that writes each estimate into the last array of its shape."""

    def __init__(self, denoiser):
        self.denoiser, self.buffers = denoiser, {}

    def __call__(self, y, sigma):
        estimate = self.denoiser(y, sigma)
        buffer = self.buffers.setdefault(estimate.shape, 1 * estimate)
        buffer[...] = estimate
        return buffer


@pytest.mark.parametrize("step", [dpmpp_2m, Multistep(lambda past, _: past[0][1])])
@pytest.mark.parametrize("array", [np.asarray, torch.tensor])
def test_a_denoiser_may_reuse_the_array_of_its_estimates(rng, array, step):
    model = Gaussian(np.ones(3), [3.0, 1.0, 0.2], np.eye(3))
    mixture = GaussianMixture([0.5, 0.5], [model, Gaussian(np.zeros(3), [1.0], np.eye(3)[:1])])
    y = array(9 * rng.standard_normal((5, 3)))
    *_, fresh = sample(mixture, y, LEVELS, step=step)
    *_, reused = sample(Reusing(mixture), y, LEVELS, step=step)
    np.testing.assert_array_equal(np.asarray(reused.x), np.asarray(fresh.x))


@pytest.mark.parametrize("step", [ddim, dpmpp_2m])
def test_the_map_of_a_denoiser_that_reuses_its_array_is_right(step):
    denoiser = LinearDenoiser(Gaussian(np.ones(3), [3.0, 1.0, 0.2], np.eye(3)))
    fresh = affine_map(denoiser, LEVELS, 3, step=step)
    reused = affine_map(Reusing(denoiser), LEVELS, 3, step=step)
    np.testing.assert_array_equal(reused.matrix, fresh.matrix)
    np.testing.assert_array_equal(reused.offset, fresh.offset)


def test_samples_draws_and_maps_have_its_law(rng):
    basis = np.linalg.qr(rng.standard_normal((4, 4)))[0]
    denoiser = LinearDenoiser(Gaussian(np.arange(4.0), [4.0, 1.0, 0.1], basis[:3]))
    times = [2, 5, 7]
    exact = law(denoiser, LEVELS, step=dpmpp_2m).gain[times]
    path = draw(denoiser, LEVELS, 6, step=dpmpp_2m, times=times, rng=3)
    start = LEVELS[0] * np.random.default_rng(3).standard_normal((6, 4))
    states = list(sample(denoiser, denoiser.model.mean + start, LEVELS, step=dpmpp_2m))
    for k, t in enumerate(times):
        np.testing.assert_allclose(path[k], states[t].x, atol=1e-12)
        found, given = ((x - denoiser.model.mean) @ basis[:3].T for x in (states[t].x, states[0].x))
        np.testing.assert_allclose(found, exact[k] * given, atol=1e-12)
    folded = affine_map(denoiser, LEVELS, 4, step=dpmpp_2m)
    y = rng.standard_normal((3, 4))
    *_, last = sample(denoiser, y, LEVELS, step=dpmpp_2m)
    np.testing.assert_allclose(y @ folded.matrix.T + folded.offset, last.x, atol=1e-12)
    assert not folded.covariance.any()
    parts = contributions(denoiser, LEVELS, step=dpmpp_2m)
    np.testing.assert_allclose(parts.initial, law(denoiser, LEVELS, step=dpmpp_2m).variance[-1])
    assert parts.injected.shape == (7, 3) and not parts.injected.any()


def test_numpy_and_torch_give_the_same_run(rng):
    model = Gaussian(np.zeros(3), [3.0, 1.0, 0.2], np.eye(3))
    mixture = GaussianMixture([0.5, 0.5], [model, Gaussian(np.ones(3), [1.0, 0.1], np.eye(3)[:2])])
    y = 9 * rng.standard_normal((5, 3))
    *_, one = sample(mixture, y, LEVELS, step=dpmpp_2m)
    *_, two = sample(mixture, torch.tensor(y), LEVELS, step=dpmpp_2m)
    np.testing.assert_allclose(two.x.numpy(), one.x, atol=1e-10)


def by_hand(first, last, swap):
    """DPM-Solver++ 2M written out, with an estimate that may be the wrong one."""

    def run(x, model):
        past = []
        for sigma, lower in pairwise(LEVELS):
            past.append((sigma, model(x, sigma)))
            guess = past[-1][1]
            if len(past) > first and (lower > 0 or last):
                (higher, old), (_, new) = past[-2:]
                share = np.log(sigma / max(lower, 1e-3)) / (2 * np.log(higher / sigma))
                guess = new - share * (new - old) if swap else new + share * (new - old)
            x = lower / sigma * x + (1 - lower / sigma) * guess
        return x

    return run


def test_the_oracle_knows_the_rule():
    right = sampler_report(by_hand(1, False, False), LEVELS, step=dpmpp_2m)
    assert right.agrees and right.rule == "dpmpp_2m"
    for wrong in (by_hand(2, False, False), by_hand(1, True, False), by_hand(1, False, True)):
        assert not sampler_report(wrong, LEVELS, step=dpmpp_2m).agrees
    euler = sampler_report(by_hand(99, False, False), LEVELS, step=dpmpp_2m)
    assert euler.explanations == ("Euler's step is taken for that of DPM-Solver++ (2M)",)
    named = sampler_report(by_hand(1, False, False), LEVELS, step=ddim)
    assert named.explanations == ("the step of DPM-Solver++ (2M) is taken",)


def test_a_rule_with_a_memory_must_not_add_noise():
    class Noisy:
        def begin(self):
            return lambda x, denoised, *_: (denoised, 1.0)

        def __call__(self, *_):
            raise AssertionError("a rule with a memory is begun")

    for user in (law, contributions):
        with pytest.raises(ValueError, match="step has a memory and adds noise"):
            user(centred([1.0]), LEVELS, step=Noisy())
    with pytest.raises(ValueError, match="step has a memory and adds noise"):
        affine_map(centred([1.0]), LEVELS, 1, step=Noisy())


def test_a_rule_sees_at_most_four_levels_and_its_own_name_survives():
    seen = []

    @Multistep
    def last_one(past, sigma_next):
        seen.append([sigma for sigma, _ in past])
        return past[-1][1]

    lam = np.array([2.0, 0.5])
    found = law(centred(lam), LEVELS, step=last_one).gain
    np.testing.assert_allclose(found, law(centred(lam), LEVELS, step=ddim).gain, rtol=1e-14)
    assert [len(levels) for levels in seen] == [2, 3, 4, 4, 4]
    assert seen[-1] == LEVELS[2:6].tolist()
    assert last_one.__name__ == "last_one"
    assert dpmpp_2m(1.0, 0.0, 2.0, 1.0, None) == ddim(1.0, 0.0, 2.0, 1.0, None)
