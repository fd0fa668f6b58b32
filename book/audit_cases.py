"""Samplers of diffusers, azula and k-diffusion for the audit; each is imported when asked for."""

from collections.abc import Callable
from typing import Any, NamedTuple

import audit_rules as rules
import numpy as np

from lindiff import Gaussian, ddim, ddim_eta, ddpm, heun, karras
from lindiff._mistakes import Form, forward_noise

SIGMAS = karras(12, 0.05, 20.0)
POSITIVE = SIGMAS[:-1]
LARGE = rules.named("ddpm with variance beta", forward_noise, form=Form("x", "vp"))
ETAS = {0.0: ddim, 0.5: ddim_eta(0.5), 1.0: ddpm}  # the stochasticity of Song et al. (2021)


class Case(NamedTuple):
    """One sampler with its settings, and the rule that it is compared with."""

    sampler: str
    settings: str
    step: Callable
    sample: Callable
    sigmas: np.ndarray = SIGMAS
    coordinates: str = "ve"
    note: str = ""  # key of an explanation on the page
    like: Any = None
    law: Gaussian | None = None
    rtol: float | None = None  # single precision somewhere in the library


# ------------------------------------------------------------------------------- diffusers


def diffusers():
    """Schedulers of diffusers with 20 inference steps, with their default beta schedule."""
    import diffusers as library
    import torch

    from lindiff.deep.schedulers import SchedulerSampler

    def case(name, step, note="", calls=None, steps=20, **config):
        scheduler = getattr(library, name)(**config)
        run = SchedulerSampler(scheduler, steps, **(calls or {}))
        step = step(run) if step in (unmatched, warmup) else step
        like = torch.empty((0, 6), dtype=torch.float64)
        shown = {**config, **(calls or {})}
        words = [f"{steps} steps"] * (steps != 20)
        words += [f"{key}={value}" for key, value in shown.items() if key != "clip_sample"]
        words, name = ", ".join(words), name.removesuffix("Scheduler")
        return Case(name, words, step, run, run.sigmas, run.coordinates, note, like, rtol=1e-4)

    def unmatched(run):
        times = run.scheduler.timesteps.tolist()
        signal = run.scheduler.alphas_cumprod.double().numpy()
        stride = 1000 // len(times)
        levels = np.append(np.sqrt((1 - signal) / signal), 0.0)
        aims = levels[[max(time - stride, -1) for time in times]]
        name = "ddim to the time t - 1000 // steps"
        return rules.retargeted(ddim, dict(zip(run.sigmas.tolist(), aims, strict=False)), name)

    def warmup(run):
        return rules.unipc(run.scheduler.config.solver_order, run.n_steps)

    off = {"clip_sample": False}
    for value, step in ETAS.items():
        yield case("DDIMScheduler", step, calls={"eta": value}, **off)
    yield case("DDIMScheduler", ddim, set_alpha_to_one=False, **off)
    yield case("DDIMScheduler", ddim, timestep_spacing="trailing", **off)
    for spacing, steps in (("trailing", 30), ("linspace", 20)):
        for step in (ddim, unmatched):
            settings = {"timestep_spacing": spacing, "steps": steps, "note": "audit-stride", **off}
            yield case("DDIMScheduler", step, **settings)
    for kind, step, note in (
        ("fixed_small", ddpm, ""),
        ("fixed_small_log", ddpm, ""),
        ("fixed_large", LARGE, ""),
        ("fixed_large_log", LARGE, "audit-log"),
    ):
        yield case("DDPMScheduler", step, note=note, variance_type=kind, **off)
    yield case("DDPMScheduler", ddpm, timestep_spacing="linspace", **off)
    yield case("EulerDiscreteScheduler", ddim)
    yield case("EulerDiscreteScheduler", ddim, use_karras_sigmas=True)
    yield case("EulerAncestralDiscreteScheduler", ddpm)
    yield case("HeunDiscreteScheduler", heun)
    yield case("LMSDiscreteScheduler", rules.sigma_ab(4))
    for order, step in ((1, ddim), (2, rules.dpmpp_2m())):
        yield case("DPMSolverMultistepScheduler", step, solver_order=order)
    yield case(
        "DPMSolverMultistepScheduler", ddpm, solver_order=1, algorithm_type="sde-dpmsolver++"
    )
    yield case("DPMSolverSinglestepScheduler", ddim, solver_order=1)
    for order, step in ((1, ddim), (2, rules.noise_eab(2))):
        yield case("DEISMultistepScheduler", step, solver_order=order, lower_order_final=False)
    for order in (1, 2, 3):
        yield case("UniPCMultistepScheduler", warmup, solver_order=order)


# ------------------------------------------------------------------------------- azula


def azula():
    """Samplers of azula, with a noise schedule through our levels and alpha = 1/sqrt(1+sigma^2)."""
    import torch
    from azula import sample as library
    from azula.denoise import Denoiser, DiracPosterior
    from azula.noise import Schedule

    class Levels(Schedule):
        def __init__(self, sigmas):
            self.sigmas = torch.as_tensor(sigmas[::-1].copy())

        def __call__(self, t):
            sigma = self.sigmas[(t * (len(self.sigmas) - 1)).round().long()]
            alpha = (1 + sigma**2) ** -0.5
            return alpha, alpha * sigma

    class Exact(Denoiser):
        def __init__(self, model, schedule):
            super().__init__()
            self.model, self.schedule = model, schedule

        def forward(self, x_t, t, **_):
            alpha, sigma = self.schedule(t)
            return DiracPosterior(self.model(x_t, sigma / alpha))

    def case(name, step, note="", sigmas=POSITIVE, **settings):
        def sample(start, model):
            denoiser = Exact(model, Levels(sigmas))
            sampler = getattr(library, name)(
                denoiser, steps=len(sigmas) - 1, silent=True, dtype=torch.float64, **settings
            )
            return sampler(start)

        words = ", ".join(f"{key}={value}" for key, value in settings.items())
        like = torch.empty((0, 6), dtype=torch.float64)
        name_, rtol = name.removesuffix("Sampler"), 1e-5 if name == "REABSampler" else None
        return Case(name_, words, step, sample, sigmas, "vp", note, like, rtol=rtol)

    yield case("DDPMSampler", ddpm)
    yield case("DDIMSampler", ddim, eta=0.0, sigmas=SIGMAS)
    yield case("DDIMSampler", ddim_eta(0.5), eta=0.5, note="audit-eta")
    yield case("DDIMSampler", ddim_eta(0.5**0.5), eta=0.5, note="audit-eta")
    yield case("DDIMSampler", ddpm, eta=1.0)
    yield case("EulerSampler", ddim, sigmas=SIGMAS)
    yield case("HeunSampler", heun)
    for value in (0.0, 0.5, 1.0):
        yield case("ItoSampler", rules.ito(value), eta=value)
    for order in (1, 2, 3):
        yield case("zABSampler", rules.sigma_ab(order), order=order)
        yield case("vABSampler", rules.velocity_ab(order), order=order)
        yield case("zEABSampler", rules.noise_eab(order), order=order)
        yield case("xEABSampler", rules.data_eab(order), order=order)
    for order in (1, 2):
        for wrong in (False, True):
            yield case(
                "REABSampler", rules.rosenbrock(order, wrong), order=order, note="audit-reab"
            )
    yield case("PCSampler", rules.predictor_corrector(0.1), corrections=1, delta=0.1)


# ------------------------------------------------------------------------------- k-diffusion


def k_diffusion():
    """Samplers of k-diffusion on our levels."""
    import torch
    from k_diffusion import sampling as library

    def case(name, step, settings=None, sigmas=SIGMAS, note=""):
        settings = settings or {}

        def sample(start, model):
            levels = torch.as_tensor(sigmas)
            return getattr(library, name)(model, start, levels, disable=True, **settings)

        words = ", ".join(f"{key}={value}" for key, value in settings.items())
        like = torch.empty((0, 6), dtype=torch.float64)
        return Case(name, words, step, sample, sigmas, "ve", note, like)

    yield case("sample_euler", ddim)
    yield case("sample_euler", rules.churn(0.1), {"s_churn": 1.2})
    yield case("sample_heun", heun)
    for value, step in ETAS.items():
        yield case("sample_euler_ancestral", step, {"eta": value})
    yield case("sample_dpm_2", rules.dpm_2)
    yield case("sample_lms", rules.sigma_ab(1), {"order": 1})
    yield case("sample_lms", rules.sigma_ab(4), {"order": 4})
    yield case("sample_dpmpp_2s_ancestral", rules.dpmpp_2s, {"eta": 0.0})
    yield case("sample_dpmpp_2m", rules.dpmpp_2m())
    yield case("sample_dpmpp_2m_sde", rules.dpmpp_2m(), {"eta": 0.0})
