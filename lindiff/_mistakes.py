r"""What a sampler does in one mode of a Gaussian law, and the mistakes that have their own law.

A model in a library sees the state :math:`x = s(\sigma)\,y` and returns an output o, from which
the clean estimate is :math:`\hat x = a\,x + b\,o`. These three numbers say all that differs between
the conventions. A mistake is a wrong number at a named place, and its exact law follows by running
the same step rule.
"""

from collections.abc import Callable, Iterator
from functools import partial
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np

from lindiff.multistep import dpmpp_2m
from lindiff.samplers import _begin, ancestral, ddim, ddim_eta, ddpm, heun

SCALES = {
    "ve": lambda sigma: 1.0,
    "vp": lambda sigma: (1 + sigma**2) ** -0.5,
    "flow": lambda sigma: 1 / (1 + sigma),
}
# (a, b) of the clean estimate a x + b o, from the scale s and the level sigma
PREDICTIONS = {
    "x": lambda s, sigma: (0.0, 1.0),
    "epsilon": lambda s, sigma: (1 / s, -sigma),
    "v": lambda s, sigma: (1 / (s * (1 + sigma**2)), -sigma / (s * (1 + sigma**2))),
    "score": lambda s, sigma: (1 / s, s * sigma**2),
    "velocity": lambda s, sigma: (1 / (s * (1 + sigma)), -sigma / (1 + sigma)),
}


class Form(NamedTuple):
    """What a model predicts, and in which coordinates its input is."""

    predicts: str
    coordinates: str

    def scale(self, sigma: float) -> float:
        """Factor s of the coordinates: the state is ``s * y`` for the observation y."""
        return SCALES[self.coordinates](sigma)

    def numbers(self, sigma: float) -> tuple[float, float, float]:
        """Scale s, and the (a, b) of the clean estimate."""
        s = self.scale(sigma)
        return (s, *PREDICTIONS[self.predicts](s, sigma))


class AffineModes(NamedTuple):
    """Result in each mode, about the mean: ``gain`` times the start, ``offset`` and noise."""

    gain: np.ndarray
    offset: np.ndarray
    noise: np.ndarray


class Mistake(NamedTuple):
    """One way to get a sampler wrong: what differs from the named rule."""

    name: str
    sigmas: np.ndarray
    step: Callable
    told: Callable = lambda sigma: sigma  # the level that the model is given
    fed: Callable = lambda sigma: 1.0  # factor of the model's input
    drift: Callable = lambda sigma: 1.0  # factor of the move from the state to the estimate
    enter: float = 1.0  # factor of the starting state
    leave: float = 1.0  # factor of the result


def affine_modes(wrong: Mistake, gains: Callable, mean: np.ndarray, form: Form) -> AffineModes:
    """Run a step rule on the modes: once with the start, once at the mean, once for each step.

    Parameters
    ----------
    wrong : Mistake
    gains : callable
        ``gains(sigma) -> (r,)`` of the exact denoiser.
    mean : ndarray, shape (r,)
        Mean of the law in its eigenbasis.
    form : Form

    Returns
    -------
    AffineModes
    """
    one, zero = np.ones_like(mean), np.zeros_like(mean)
    centre = np.array([zero, mean, zero])

    def denoiser(state: np.ndarray, sigma: float) -> np.ndarray:
        scale, a, b = form.numbers(sigma)
        level = wrong.told(sigma)
        scale_told, a_told, b_told = form.numbers(level)
        seen = wrong.fed(sigma) * scale * state
        guess = centre + gains(level) * (seen / scale_told - centre)
        clean = a * scale * state + b * (guess - a_told * seen) / b_told
        return state + wrong.drift(sigma) * (clean - state)

    step, variance = _begin(wrong.step), zero
    state = np.array([wrong.enter * one, wrong.enter * mean, one])
    for sigma, lower in pairwise(wrong.sigmas.tolist()):
        state, noise = step(state, denoiser(state, sigma), sigma, lower, denoiser)
        noise = noise(gains(sigma)) if callable(noise) else noise
        variance = state[2] ** 2 * variance + noise**2
        state[2] = 1.0  # the third row is the factor of one step
    gain, middle, _ = wrong.leave * state
    return AffineModes(gain, middle - mean, wrong.leave**2 * variance)


def _noisy(
    x: Any,
    denoised: Any,
    sigma: float,
    sigma_next: float,
    denoiser: Any,
    *,
    step: Callable,
    change: Callable,
) -> tuple[Any, Any]:
    """Step with a changed noise."""
    mean, noise = step(x, denoised, sigma, sigma_next, denoiser)
    if callable(noise):
        return mean, lambda gain: change(noise(gain))
    return mean, change(noise)


def forward_noise(
    x: Any,
    denoised: Any,
    sigma: float,
    sigma_next: float,
    denoiser: Any,
    *,
    form: Form,
    last: bool = False,
) -> tuple[Any, float]:
    r"""DDPM with the variance of the forward step, :math:`\beta_t` ("large") [Ho et al. 2020, 3.2].

    In units of the observation it is :math:`(\sigma_t^2-\sigma_{t-1}^2)\,s_t^2/s_{t-1}^2`.
    """
    mean, _ = ddpm(x, denoised, sigma, sigma_next, denoiser)
    std = (sigma**2 - sigma_next**2) ** 0.5 * form.scale(sigma) / form.scale(sigma_next)
    return mean, std if sigma_next > 0 or last else 0.0


def rule_name(step: Callable) -> str:
    """Name of a step rule for a message."""
    if isinstance(step, partial) and "eta" in step.keywords:
        return f"ddim with eta = {step.keywords['eta']:.4g}"
    return getattr(step, "__name__", "the given rule")


def mistakes(sigmas: np.ndarray, step: Callable, form: Form) -> Iterator[Mistake]:
    """Yield every mistake that has its own law, for a rule and a schedule."""
    usual = Mistake("the named rule", sigmas, step)
    yield from _at_the_model(usual)
    yield from _at_the_ends(usual, form)
    yield from _in_the_rule(usual, form)


def _at_the_model(usual: Mistake) -> Iterator[Mistake]:
    """Yield wrong levels, inputs and factors at the call of the model."""
    positive = usual.sigmas[usual.sigmas > 0].tolist()
    lower = dict(zip(positive, [*positive[1:], positive[-1]], strict=True))
    higher = dict(zip(positive, [positive[0], *positive[:-1]], strict=True))
    told = {
        "the model is told sigma squared for sigma": lambda sigma: sigma**2,
        "the model is told the square root of sigma": lambda sigma: sigma**0.5,
        "the model is told the next level (schedule off by one)": lambda s: lower.get(s, s),
        "the model is told the level before (schedule off by one)": lambda s: higher.get(s, s),
    }
    for name, level in told.items():
        yield usual._replace(name=name, told=level)
    fed = {
        "the model's input is divided by sqrt(1 + sigma^2) (VP for VE)": -0.5,
        "the model's input is not divided by sqrt(1 + sigma^2) (VE for VP)": 0.5,
    }
    for name, power in fed.items():
        yield usual._replace(name=name, fed=lambda s, power=power: (1 + s**2) ** power)
    drift = {
        "a factor of two in the drift: the score counts twice": lambda sigma: 2.0,
        "a factor of two in the drift: the score counts half": lambda sigma: 0.5,
        "sqrt(1 - alpha_bar) stands where sigma should": lambda sigma: (1 + sigma**2) ** -0.5,
        "sigma stands where sigma squared should, at the score": lambda sigma: 1 / sigma,
        "sigma squared stands where sigma should, at epsilon": lambda sigma: sigma,
    }
    for name, factor in drift.items():
        yield usual._replace(name=name, drift=factor)


def _at_the_ends(usual: Mistake, form: Form) -> Iterator[Mistake]:
    """Yield wrong scales of the start, and steps too few or too many."""
    sigmas = usual.sigmas
    first, last = float(sigmas[0]), float(sigmas[-1])
    both = (1 + first**2) ** 0.5
    enter = {
        "the starting noise is multiplied by sigma_max once too often": first,
        "the starting noise is divided by sigma_max (not scaled)": 1 / first,
        "the starting noise is multiplied by sqrt(1 + sigma_max^2) (VE for VP)": both,
        "the starting noise is divided by sqrt(1 + sigma_max^2) (VP for VE)": 1 / both,
    }
    for name, factor in enter.items():
        yield usual._replace(name=name, enter=factor)
    if len(sigmas) > 2:
        before, second = float(sigmas[-2]), float(sigmas[1])
        yield usual._replace(
            name=f"the last step is missing: it stops at sigma = {before:.4g}",
            sigmas=sigmas[:-1],
            leave=form.scale(before) / form.scale(last),
        )
        yield usual._replace(
            name="the first step is skipped: the start is taken to be at the second level",
            sigmas=sigmas[1:],
            enter=form.scale(first) / form.scale(second),
        )
    if last > 0:
        yield usual._replace(
            name="one step too many: it denoises down to sigma = 0",
            sigmas=np.append(sigmas, 0.0),
            leave=1 / form.scale(last),
        )


def _in_the_rule(usual: Mistake, form: Form) -> Iterator[Mistake]:
    """Yield other rules, other values of eta, and wrong noise."""
    step = usual.step
    value = step.keywords.get("eta") if isinstance(step, partial) else None
    if value:
        yield usual._replace(name="eta is ignored: this is DDIM", step=ddim)
        yield usual._replace(name=f"eta is squared: {value**2:.4g}", step=ddim_eta(value**2))
        root = f"eta is replaced by its square root: {value**0.5:.4g}"
        yield usual._replace(name=root, step=ddim_eta(value**0.5))
    others: dict[str, Callable] = {
        "no noise is added: this is DDIM (Euler's step in sigma)": ddim,
        "noise is added as in DDPM (eta = 1)": ddpm,
        "Heun's step is taken": heun,
        "the step of DPM-Solver++ (2M) is taken": dpmpp_2m,
        "the covariance of x given the state is drawn too (exact ancestral step)": ancestral,
    }
    if step in (heun, dpmpp_2m):
        name = "Heun's" if step is heun else "that of DPM-Solver++ (2M)"
        others[f"Euler's step is taken for {name}"] = others.pop(next(iter(others)))
    for name, other in others.items():
        if other is not step and not (value and other is ddim):
            yield usual._replace(name=name, step=other)
    for name, last in (("", False), (", in the last step too", True)):
        name = f"the noise has the variance of the forward step (beta, 'large'){name}"
        yield usual._replace(name=name, step=partial(forward_noise, form=form, last=last))
    changes = {
        "a factor of two in the noise (twice the standard deviation)": lambda s: 2 * s,
        "a factor of two in the noise (half the standard deviation)": lambda s: s / 2,
        "a factor of two in the noise (twice the variance)": lambda s: 2**0.5 * s,
        "a factor of two in the noise (half the variance)": lambda s: 0.5**0.5 * s,
        "the noise is multiplied by its variance, not its standard deviation": lambda s: s**2,
        "the noise is multiplied by the root of its standard deviation": lambda s: s**0.5,
    }
    for name, change in changes.items() if not hasattr(step, "begin") else ():
        yield usual._replace(name=name, step=partial(_noisy, step=step, change=change))
