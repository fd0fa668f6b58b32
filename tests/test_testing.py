"""The oracle for samplers: right ones pass, wrong ones fail, and known mistakes are named."""

from itertools import pairwise

import numpy as np
import pytest
import torch
from scipy import stats

import lindiff
from lindiff import _measure, _mistakes
from lindiff.denoisers import LinearDenoiser
from lindiff.gaussian import Gaussian
from lindiff.samplers import ddim, ddim_eta, ddpm
from lindiff.testing import ExactModel, assert_sampler_matches, sampler_report, standard_law

SIGMAS = lindiff.karras(8, 0.05, 15.0)
RULES = {
    "ddim": lindiff.ddim,
    "ddpm": lindiff.ddpm,
    "eta": lindiff.ddim_eta(0.6),
    "heun": lindiff.heun,
    "2m": lindiff.dpmpp_2m,
}


def ours(step, sigmas=SIGMAS, seed=0):
    """The sampler of the package, in variance-exploding coordinates."""
    rng = np.random.default_rng(seed)

    def sample(x, model):
        *_, end = lindiff.sample(model, x, sigmas, step=step, rng=rng)
        return end.x

    return sample


def same(value):
    return value


def by_hand(
    *,
    eta=0.0,
    seed=0,
    sigmas=SIGMAS,
    told=same,
    told_index=0,
    feed=lambda x, sigma: x,
    epsilon=lambda e, sigma: e,
    clean=None,
    noise=same,
    start=same,
    large=None,
    shared=None,
):
    """Song et al. (2021), eq. 12, variance-preserving, written out; the arguments are mistakes."""
    rng = np.random.default_rng(seed)
    signal = 1 / (1 + np.asarray(sigmas) ** 2)

    def sample(x, model):
        x = start(x)
        for t in range(len(sigmas) - 1):
            now, then, sigma = signal[t], signal[t + 1], sigmas[t]
            level = sigmas[min(max(t + told_index, 0), np.count_nonzero(sigmas) - 1)]
            e = epsilon(model(feed(x, sigma), told(level)), sigma)
            x0 = (x - (1 - now) ** 0.5 * e) / now**0.5
            if clean is not None:
                x0 = clean(x0)
                e = (x - now**0.5 * x0) / (1 - now) ** 0.5
            std = eta * ((1 - then) / (1 - now) * (1 - now / then)) ** 0.5
            x = then**0.5 * x0 + (1 - then - std**2) ** 0.5 * e
            if large is not None:
                std = (1 - now / then) ** 0.5 * (then < 1 or large == "last")
            white = rng.standard_normal(x.shape if shared is None else (1, x.shape[1]))
            x = x + std_of(noise, std, then) * white
        return x

    return sample


def std_of(noise, std, signal):
    """Apply a mistake to a standard deviation in units of the clean data."""
    return noise(std / signal**0.5) * signal**0.5


def in_exploding(x, sigma):
    return x * (1 + sigma**2) ** 0.5


def report(sample, step, **settings):
    """Report on a sampler in the variance-preserving form with epsilon."""
    settings = {"predicts": "epsilon", "coordinates": "vp", "rng": 1, "draws": 20_000} | settings
    return sampler_report(sample, SIGMAS, step=step, **settings)


# ---------------------------------------------------------------- right samplers


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_the_samplers_of_the_package_agree(rule, dtype):
    like = np.empty((0, 6), dtype)
    found = assert_sampler_matches(
        ours(RULES[rule]), SIGMAS, step=RULES[rule], like=like, rng=1, draws=2000
    )
    assert found.explanations == ()
    assert (found.draws == 0) == (rule in ("ddim", "heun", "2m"))
    if not found.draws and dtype == "float64":
        errors = (found.variance_error, found.response_error, found.bias)
        assert max(np.abs(error).max() for error in errors) < 1e-13


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("rule", ["ddim", "eta"])
def test_torch_images_are_sampled_in_their_own_shape(rule, dtype):
    seen, rng = set(), np.random.default_rng(5)

    def sample(x, model):
        seen.add((x.dtype, tuple(x.shape[1:])))

        def denoiser(y, sigma):  # with one level for each image, as networks are called
            return model(y, torch.full((len(y), 1, 1, 1), sigma, dtype=torch.float64))

        *_, end = lindiff.sample(denoiser, x, SIGMAS, step=RULES[rule], rng=rng)
        return end.x

    like = torch.empty((0, 2, 3, 2), dtype=dtype)
    found = sampler_report(sample, SIGMAS, step=RULES[rule], like=like, rng=1)
    assert found.agrees, found
    assert seen == {(dtype, (2, 3, 2))}
    assert found.gain.shape == (12,)


@pytest.mark.parametrize("eta", [0.0, 0.6, 1.0])
def test_a_variance_preserving_sampler_written_by_hand_agrees(eta):
    assert report(by_hand(eta=eta), lindiff.ddim_eta(eta)).agrees


@pytest.mark.parametrize("coordinates", _mistakes.SCALES)
@pytest.mark.parametrize("predicts", _mistakes.PREDICTIONS)
def test_every_prediction_is_what_its_definition_says(predicts, coordinates):
    law, sigma = standard_law(), 0.7
    rng = np.random.default_rng(0)
    y = law.sample(5, rng=rng) + sigma * rng.standard_normal((5, 6))
    clean = lindiff.LinearDenoiser(law)(y, sigma)
    noise = (y - clean) / sigma
    s = {"ve": 1.0, "vp": 1 / np.sqrt(1 + sigma**2), "flow": 1 / (1 + sigma)}[coordinates]
    # the score of the noisy law itself, from its covariance
    covariance = s**2 * (law.covariance() + sigma**2 * np.eye(6))
    expected = {
        "x": clean,
        "epsilon": noise,
        "v": s * noise - s * sigma * clean,
        "score": -np.linalg.solve(covariance, s * (y - law.mean).T).T,
        "velocity": noise - clean,
    }
    found = ExactModel(law, predicts, coordinates)(s * y, sigma)
    np.testing.assert_allclose(found, expected[predicts], rtol=1e-10)


def test_euler_on_a_straight_flow_is_ddim():
    def sample(x, model):
        times = SIGMAS / (1 + SIGMAS)
        for t, sigma, then in zip(times[:-1], SIGMAS[:-1], times[1:], strict=True):
            x = x + (then - t) * model(x, sigma)
        return x

    assert report(sample, lindiff.ddim, predicts="velocity", coordinates="flow").agrees


def test_a_schedule_may_end_above_zero():
    sigmas = SIGMAS[:-1]
    for coordinates, sample in (("ve", ours(lindiff.ddpm, sigmas)), ("vp", by_hand(sigmas=sigmas))):
        step = lindiff.ddpm if coordinates == "ve" else lindiff.ddim
        predicts = "x" if coordinates == "ve" else "epsilon"
        found = sampler_report(
            sample, sigmas, step=step, coordinates=coordinates, predicts=predicts, rng=0
        )
        assert found.agrees, found


def test_a_sampler_that_resets_its_seed_still_has_a_law():
    def sample(x, model):
        return ours(lindiff.ddpm, seed=7)(x, model)

    assert sampler_report(sample, SIGMAS, step=lindiff.ddpm, rng=0).agrees


# ---------------------------------------------------------------- how often it is wrong


def test_false_alarms_come_at_the_rate_that_was_asked_for():
    """The chances of a right sampler are uniform: 5 % of them are below 5 %."""
    sample = ours(lindiff.ddpm, sigmas := lindiff.karras(4, 0.05, 15.0))
    settings = {"step": lindiff.ddpm, "draws": 200, "false_alarm": 0.05}
    reports = [sampler_report(sample, sigmas, rng=k, **settings) for k in range(600)]
    chances = np.sort([found.chance for found in reports])
    assert sum(not found.agrees for found in reports) == np.sum(chances < 0.05)
    # Kolmogorov's bound, exceeded with probability 1e-4, on both sides
    away = np.abs(chances - np.arange(1, 601) / 600).max()
    assert away < np.sqrt(np.log(2 / 1e-4) / 2 / 600)
    assert 8 <= np.sum(chances < 0.05) <= 57  # binomial(600, 0.05), to 1e-4 on either side


def test_a_sampler_may_have_the_seed_of_the_starts():
    """With the same stream for both, start and first noise would be the same."""
    for seed in (0, 1):
        sample = ours(lindiff.ancestral, seed=seed)
        denoiser = lindiff.LinearDenoiser(standard_law())
        found = sampler_report(
            lambda x, _, sample=sample, denoiser=denoiser: sample(x, denoiser),
            SIGMAS,
            step=lindiff.ancestral,
            rng=seed,
        )
        assert found.agrees, found


def test_a_small_difference_of_the_noise_is_found():
    def louder(x, denoised, sigma, sigma_next, denoiser):
        mean, noise = lindiff.ddpm(x, denoised, sigma, sigma_next, denoiser)
        return mean, 1.03 * noise

    found = sampler_report(ours(louder), SIGMAS, step=lindiff.ddpm, draws=40_000, rng=0)
    assert not found.agrees
    assert found.explanations == ()  # no mistake of the table makes three percent


# ---------------------------------------------------------------- the tests themselves


def measured(modes=3, freedom=40, **changes):
    """A measurement that is as expected, but for the changes."""
    nothing = np.zeros((modes, modes))
    usual = _measure.Measured(
        matrix=nothing + np.eye(modes),
        offset=np.zeros(modes),
        residual=freedom * 0.5 * np.eye(modes),
        spread=np.full(modes + 1, 0.01),
        freedom=freedom,
        rounding=1e-8,
        floor=0.0,
        remarks=(),
    )
    return usual._replace(**changes)


def test_each_test_has_the_chance_of_its_own_statistic():
    """One entry is off; its tail is that of SciPy's distributions, corrected for 18 tests."""
    known = _mistakes.AffineModes(np.ones(3), np.zeros(3), np.full(3, 0.5))
    matrix, offset, residual = np.eye(3), np.zeros(3), 20 * np.eye(3)
    matrix[0, 1], offset[2], residual[1, 1] = 0.2, -0.25, 38.0
    correlated = 20 * np.eye(3)
    correlated[0, 2] = correlated[2, 0] = 20 * 0.5
    tails = {
        "matrix": 2 * stats.norm.sf(0.2 / np.sqrt(0.005)),
        "offset": 2 * stats.norm.sf(0.25 / np.sqrt(0.005)),
        "residual": 2 * stats.chi2.sf(38 / 0.5, 40),
    }
    changes = {"matrix": matrix, "offset": offset, "residual": residual}
    for name, tail in tails.items():
        found = _measure.compare(measured(**{name: changes[name]}), known)
        assert found == pytest.approx(1 - (1 - tail) ** 18)
    tail = 2 * stats.t.sf(0.5 * np.sqrt(39 / 0.75), 39)
    found = _measure.compare(measured(residual=correlated), known)
    assert found == pytest.approx(1 - (1 - tail) ** 18)


def test_the_tests_are_exact_for_few_draws():
    """With two modes and five draws the degrees of freedom count."""
    rng = np.random.default_rng(0)
    known = _mistakes.AffineModes(np.array([2.0, 2.0]), np.zeros(2), np.array([0.5, 0.5]))

    def run(starts):
        return 2 * starts + np.sqrt(0.5) * rng.standard_normal(starts.shape)

    chances = np.sort(
        [_measure.compare(_measure.regress(run, 2, 5, rng), known) for _ in range(2000)]
    )
    away = np.abs(chances - np.arange(1, 2001) / 2000).max()
    assert away < np.sqrt(np.log(2 / 1e-4) / 2 / 2000)


def test_a_missing_last_step_is_named_where_the_scale_changes_much():
    sigmas = SIGMAS[:6]  # down to 0.7, where the two coordinates differ
    settings = {"predicts": "epsilon", "coordinates": "vp", "rng": 1, "draws": 20_000}
    found = sampler_report(
        by_hand(eta=1, sigmas=sigmas[:-1]), sigmas, step=lindiff.ddpm, **settings
    )
    (words,) = found.explanations
    assert "last step is missing" in words


# ---------------------------------------------------------------- mistakes, by hand

TOP = SIGMAS[0]
ROOT = (1 + TOP**2) ** 0.5
# words of the name, the rule that was meant, and the wrong sampler
WRONG = [
    ("told sigma squared for sigma", 0, {"told": lambda s: s**2}),
    ("told the square root of sigma", 0, {"told": lambda s: s**0.5}),
    ("told the next level", 0, {"told_index": 1}),
    ("told the next level", 0.6, {"told_index": 1}),
    ("told the level before", 0, {"told_index": -1}),
    ("not divided by sqrt(1 + sigma^2) (VE for VP)", 0, {"feed": in_exploding}),
    ("score counts twice", 0, {"epsilon": lambda e, s: 2 * e}),
    ("score counts half", 0, {"epsilon": lambda e, s: e / 2}),
    ("sqrt(1 - alpha_bar) stands", 0, {"epsilon": lambda e, s: e / (1 + s**2) ** 0.5}),
    ("sigma stands where sigma squared", 0, {"epsilon": lambda e, s: e / s}),
    ("sigma squared stands where sigma", 0, {"epsilon": lambda e, s: e * s}),
    ("multiplied by sigma_max once too often", 0, {"start": lambda x: x * TOP}),
    ("divided by sigma_max", 0, {"start": lambda x: x / TOP}),
    ("multiplied by sqrt(1 + sigma_max^2) (VE for VP)", 0, {"start": lambda x: x * ROOT}),
    ("divided by sqrt(1 + sigma_max^2) (VP for VE)", 0, {"start": lambda x: x / ROOT}),
    ("last step is missing: it stops at sigma = 0.05", 0, {"sigmas": SIGMAS[:-1]}),
    ("last step is missing", 1, {"sigmas": SIGMAS[:-1], "eta": 1}),
    ("first step is skipped", 0, {"sigmas": SIGMAS[1:]}),
    ("eta is ignored", 0.6, {"eta": 0}),
    ("eta is squared: 0.36", 0.6, {"eta": 0.36}),
    ("eta is replaced by its square root: 0.77", 0.6, {"eta": 0.6**0.5}),
    ("no noise is added", 1, {"eta": 0}),
    ("noise is added as in DDPM", 0, {"eta": 1}),
    ("forward step (beta, 'large')", 1, {"eta": 1, "large": "but the last"}),
    ("in the last step too", 1, {"eta": 1, "large": "last"}),
    ("twice the standard deviation", 0.6, {"noise": lambda s: 2 * s}),
    ("half the standard deviation", 0.6, {"noise": lambda s: s / 2}),
    ("twice the variance", 1, {"noise": lambda s: 2**0.5 * s}),
    ("half the variance", 1, {"noise": lambda s: 0.5**0.5 * s}),
    ("by its variance, not its standard deviation", 1, {"noise": lambda s: s**2}),
    ("root of its standard deviation", 1, {"noise": lambda s: s**0.5}),
]
ELSEWHERE = {  # mistakes that the tests below make in other coordinates or for other rules
    "the model's input is divided by sqrt(1 + sigma^2) (VP for VE)",
    "one step too many: it denoises down to sigma = 0",
    "Euler's step is taken for Heun's",
    "Heun's step is taken",
    "Euler's step is taken for that of DPM-Solver++ (2M)",
    "the step of DPM-Solver++ (2M) is taken",
    "the covariance of x given the state is drawn too (exact ancestral step)",
}


@pytest.mark.parametrize(("words", "eta", "mistake"), WRONG, ids=[words for words, *_ in WRONG])
def test_a_mistake_made_by_hand_is_caught_and_named(words, eta, mistake):
    step = {0: lindiff.ddim, 1: lindiff.ddpm}.get(eta) or lindiff.ddim_eta(eta)
    found = report(by_hand(**{"eta": eta} | mistake), step)
    assert not found.agrees
    assert len(found.explanations) == 1, found
    assert words in found.explanations[0]


@pytest.mark.parametrize("words", ["told the next level", "first step is skipped", "stops at"])
def test_mistakes_are_named_in_single_precision(words):
    (mistake,) = (mistake for name, eta, mistake in WRONG if words in name and eta == 0)
    found = report(by_hand(**mistake), lindiff.ddim, like=np.empty((0, 6), np.float32))
    assert not found.agrees
    assert len(found.explanations) == 1, found
    assert words in found.explanations[0]


def test_the_mistakes_are_all_made_by_some_test():
    form = _mistakes.Form("epsilon", "vp")
    rules = (*RULES.values(), lindiff.ancestral)
    schedules = (SIGMAS, SIGMAS[:-1])
    known = {
        wrong.name
        for step in rules
        for s in schedules
        for wrong in _mistakes.mistakes(s, step, form)
    }
    named = {name for name in known if any(words in name for words, *_ in WRONG)}
    assert known - named == ELSEWHERE


def test_rules_are_told_apart():
    pairs = {
        "Euler's step is taken for Heun's": (lindiff.ddim, lindiff.heun),
        "Heun's step is taken": (lindiff.heun, lindiff.ddim),
        "Euler's step is taken for that of DPM-Solver++ (2M)": (lindiff.ddim, lindiff.dpmpp_2m),
        "the step of DPM-Solver++ (2M) is taken": (lindiff.dpmpp_2m, lindiff.ddim),
        "the covariance of x given the state is drawn too (exact ancestral step)": (
            lindiff.ancestral,
            lindiff.ddpm,
        ),
    }
    for name, (done, meant) in pairs.items():
        model = lindiff.LinearDenoiser(standard_law())
        found = sampler_report(
            lambda x, _, done=done, model=model: ours(done)(x, model),
            SIGMAS,
            step=meant,
            draws=20_000,
            rng=0,
        )
        assert found.explanations == (name,)


def test_a_variance_exploding_model_fed_as_a_preserving_one_is_named():
    def sample(x, model):
        return ours(lindiff.ddim)(x, lambda y, s: fed_wrongly(model, y, s))

    def fed_wrongly(model, y, sigma):
        return y - sigma * model(y / (1 + sigma**2) ** 0.5, sigma)

    found = sampler_report(sample, SIGMAS, predicts="epsilon")
    assert found.explanations == ("the model's input is divided by sqrt(1 + sigma^2) (VP for VE)",)


def test_a_step_too_many_is_named():
    found = sampler_report(ours(lindiff.ddim), SIGMAS[:-1])
    assert found.explanations == ("one step too many: it denoises down to sigma = 0",)


# ---------------------------------------------------------------- what is wrong whatever the rule


@pytest.mark.parametrize("eta", [0.0, 1.0])
def test_clipping_is_named(eta):
    sample = by_hand(eta=eta, clean=lambda x: x.clip(-1, 1))
    found = report(sample, lindiff.ddim_eta(eta))
    assert not found.agrees
    assert found.explanations == ("results are clipped at 1",)


def test_clipping_on_the_way_is_named():
    sample = by_hand(sigmas=SIGMAS[:-1], clean=lambda x: x.clip(-1, 1))
    settings = {"predicts": "epsilon", "coordinates": "vp"}
    found = sampler_report(sample, SIGMAS[:-1], **settings)
    (words,) = found.explanations
    assert "not affine" in words


def test_noise_shared_by_a_batch_is_named():
    found = report(by_hand(eta=1, shared=True), lindiff.ddpm)
    (words,) = found.explanations
    assert "the same for every sample" in words


def test_noise_shared_by_the_coordinates_is_found():
    rng = np.random.default_rng(3)

    def sample(x, model):
        for sigma, lower in pairwise(SIGMAS):
            mean, std = lindiff.ddpm(x, model(x, sigma), sigma, lower, model)
            x = mean + std * rng.standard_normal((len(x), 1))
        return x

    assert not sampler_report(sample, SIGMAS, step=lindiff.ddpm, rng=0).agrees


def test_modes_that_leak_into_each_other_are_found():
    def sample(x, model):
        return ours(lindiff.ddim)(x, model)[:, [1, 0, 2, 3, 4, 5]]

    found = sampler_report(sample, SIGMAS)
    assert not found.agrees
    assert found.explanations == ()


def test_a_wrong_mean_is_found():
    found = sampler_report(lambda x, model: ours(lindiff.ddim)(x, model) + 1e-3, SIGMAS)
    assert not found.agrees
    assert np.abs(found.bias).max() > 1e-4


# ---------------------------------------------------------------- words


def test_the_message_holds_the_table_and_the_guess():
    with pytest.raises(AssertionError) as caught:
        assert_sampler_matches(ours(lindiff.ddim), SIGMAS, step=lindiff.heun)
    message = str(caught.value)
    assert "does not follow heun (deterministic: known to rounding)." in message
    assert message.endswith("It looks as if Euler's step is taken for Heun's.")
    table = np.array([line.split() for line in message.splitlines()[2:8]], float)
    law = lindiff.law(lindiff.LinearDenoiser(standard_law()), SIGMAS, step=lindiff.heun)
    np.testing.assert_allclose(table[:, 4], law.variance[-1], rtol=1e-3)


def test_the_expected_law_is_that_of_the_package():
    for step in (*RULES.values(), lindiff.ancestral):
        found = sampler_report(ours(lindiff.ddim), SIGMAS, step=step)
        law = lindiff.law(lindiff.LinearDenoiser(standard_law()), SIGMAS, step=step)
        np.testing.assert_allclose(found.expected_gain, law.gain[-1], rtol=1e-12)
        np.testing.assert_allclose(found.expected_variance, law.variance[-1], rtol=1e-12)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"predicts": "noise"}, "predicts is 'noise'; expected one of x, epsilon, v"),
        ({"coordinates": "VP"}, "coordinates is 'VP'; expected one of ve, vp, flow"),
        ({"draws": 10}, "draws is 10; expected an integer of at least 22"),
        ({"rtol": 0}, "rtol is 0; expected a finite number > 0"),
        ({"law": lindiff.Gaussian(np.zeros(2), [1.0], np.eye(2)[:1])}, "law has 1 modes"),
        ({"step": lindiff.ddim_eta}, "eta without its value"),
    ],
)
def test_wrong_settings_are_named(settings, words):
    with pytest.raises(ValueError, match=words):
        sampler_report(ours(lindiff.ddim), SIGMAS, **settings)


@pytest.mark.parametrize(
    ("sample", "words"),
    [
        (lambda x, model: x[:1], "result of the sampler has shape"),
        (lambda x, model: x * np.nan, "nan or inf"),
        (lambda x, model: model(x, [1.0, 2.0]), "sigma has 2 different values"),
    ],
)
def test_wrong_samplers_are_named(sample, words):
    with pytest.raises(ValueError, match=words):
        sampler_report(sample, SIGMAS)


def test_a_model_of_noise_has_no_answer_without_noise():
    with pytest.raises(ValueError, match="sigma is 0; expected a positive level"):
        ExactModel(standard_law(), "epsilon")(np.ones((1, 6)), 0.0)


# ---------------------------------------------------------------- what researchers did with it

LEVELS = [9.0, 3.0, 1.0, 0.0]


@pytest.mark.parametrize(
    ("step", "settings"),
    [
        (ddim_eta(1e-3), {"like": np.empty((0, 6), np.float32)}),
        (ddim_eta(0.3), {"rtol": 0.05}),
        (ddpm, {"rtol": 0.2}),
    ],
    ids=["little noise in float32", "a coarse rtol", "a coarser one"],
)
def test_independent_noise_is_not_taken_for_shared_noise(step, settings):
    run = ours(step, LEVELS)
    assert sampler_report(run, LEVELS, step=step, rng=0, **settings).agrees


def test_shared_noise_is_named_however_small():
    rng = np.random.default_rng(1)

    def shared(x, model):
        for sigma, lower in pairwise(LEVELS):
            mean, noise = ddim_eta(0.01)(x, model(x, sigma), sigma, lower, None)
            x = mean + noise * rng.standard_normal(x.shape[1])
        return x

    report = sampler_report(shared, LEVELS, step=ddim_eta(0.01), rng=0)
    assert not report.agrees
    assert report.explanations == ("the noise is the same for every sample of a batch",)


@pytest.mark.parametrize("constant", [0.0, 1.0, "mean"])
def test_a_result_without_a_start_is_named(constant):
    def run(x, model):
        return 0 * x + (model.law.mean if constant == "mean" else constant)

    report = sampler_report(run, [3.0, 0.0])
    assert report.draws == 0
    assert report.explanations == ("its result does not depend on its start",)


def test_low_precision_inside_is_answered_with_the_way_to_say_so():
    def run(x, model):
        return ours(ddim, LEVELS)(x, model).astype(np.float32).astype(float)

    report = sampler_report(run, LEVELS, rtol=1e-12)
    assert not report.agrees
    assert report.verdict().endswith("say so by rtol.")
    assert sampler_report(run, LEVELS, rtol=1e-4).agrees


FLAT = Gaussian(np.ones(2), [1.0, 0.0], np.eye(2))
REFUSED = {
    "a rate of one": ({"false_alarm": 1}, "false_alarm is 1; expected a probability"),
    "a rate of nan": ({"false_alarm": np.nan}, "false_alarm is nan"),
    "a flag for a seed": ({"rng": True}, "rng is True; expected"),
    "a negative seed": ({"rng": -1}, "rng is -1; expected"),
    "a list": ({"like": [1.0]}, r"like is \[1.0\]; expected an array"),
    "a vector": ({"like": np.empty(6)}, "like is of type ndarray and shape"),
    "integers": ({"like": np.empty((0, 6), int)}, "expected an array .* of floating-point"),
    "another dimension": ({"like": np.empty((0, 5)), "law": standard_law(6)}, "one state of like"),
    "a mode without variance": ({"law": FLAT}, "of variances down to 0; expected"),
    "a denoiser": ({"law": LinearDenoiser(FLAT)}, "law is .*; expected a Gaussian"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_settings_that_make_no_sense_are_refused(case):
    settings, message = REFUSED[case]
    with pytest.raises(ValueError, match=message):
        sampler_report(ours(ddim, LEVELS), LEVELS, **settings)
