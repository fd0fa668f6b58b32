"""Samplers of deepinv, smalldiffusion and denoising-diffusion-pytorch for the audit."""

from contextlib import contextmanager
from types import SimpleNamespace
from unittest import mock

import audit_rules as rules
import numpy as np
from audit_cases import ETAS, LARGE, POSITIVE, SIGMAS, Case

from lindiff import Gaussian, ddim, ddpm, heun
from lindiff.testing import standard_law

# ------------------------------------------------------------------------------- deepinv


def deepinv():
    """Solvers of deepinv for its EDM diffusion with sigma(t) = t, in single precision."""
    import torch
    from deepinv import sampling as library

    def case(name, step, settings=None, alpha=0.0, sigmas=SIGMAS, kind="exploding"):
        settings = settings or {}

        def sample(start, model):
            solver = getattr(library, name)(timesteps=sigmas, **settings)
            sde = library.EDMDiffusionSDE(
                sigma_t=lambda t: t,
                alpha=alpha,
                denoiser=Reader(model),
                solver=solver,
                minus_one_one=False,
                **{f"variance_{kind}": True},
            )
            return sde.sample(start)

        class Reader(torch.nn.Module):
            def __init__(self, model):
                super().__init__()
                self.model = model

            def forward(self, y, sigma):  # it hands over y = x / s
                scale = 1.0 if kind == "exploding" else (1 + float(sigma) ** 2) ** -0.5
                return self.model(scale * y, sigma)

        words = [f"{key}={value}" for key, value in settings.items()]
        words += [f"alpha={alpha:g}"] * ("eta" not in settings)
        words = ", ".join([*words, f"variance_{kind}"])
        like = torch.empty((0, 1, 2, 3), dtype=torch.float64)
        coordinates = {"exploding": "ve", "preserving": "vp"}[kind]
        return Case(name, words, step, sample, sigmas, coordinates, "", like, rtol=1e-4)

    for value, step in ETAS.items():
        yield case("DDIMSolver", step, {"eta": value})
        yield case("DDIMSolver", step, {"eta": value}, kind="preserving")
    yield case("DDPMSolver", ddpm)._replace(settings="variance_exploding")
    yield case("DDPMSolver", LARGE, {"variance": "large"}, kind="preserving", alpha=1.0)
    for value in (0.0, 1.0):
        yield case("EulerSolver", rules.euler_maruyama(value), alpha=value)
    yield case("HeunSolver", heun, sigmas=POSITIVE)


# ------------------------------------------------------------------------------- smalldiffusion


def smalldiffusion():
    """The one loop of smalldiffusion with its three suggested settings."""
    import smalldiffusion as library
    import torch
    from smalldiffusion.model import ModelMixin

    class Exact(torch.nn.Module, ModelMixin):
        input_dims = (6,)

        def __init__(self, model):
            super().__init__()
            self.model = model

        def rand_input(self, batchsize):
            return torch.randn((batchsize, 6), dtype=torch.float64)

        def forward(self, x, sigma, cond=None):
            return (x - self.model(x, sigma)) / sigma

    def case(step, gam, mu, note=""):
        def sample(start, model):
            settings = {"gam": gam, "mu": mu, "xt": start, "batchsize": len(start)}
            plain = SimpleNamespace(device="cpu")  # in place of an Accelerator
            *_, end = library.samples(
                Exact(model), torch.as_tensor(SIGMAS), accelerator=plain, **settings
            )
            return end

        like = torch.empty((0, 6), dtype=torch.float64)
        return Case("samples", f"gam={gam:g}, mu={mu:g}", step, sample, note=note, like=like)

    yield case(ddim, 1, 0)
    yield case(ddpm, 1, 0.5)
    yield case(rules.gradient_estimation(2), 2, 0)


# ------------------------------------------------------- denoising-diffusion-pytorch


def denoising_diffusion_pytorch():
    """Its samplers clip the estimate to [-1, 1]: the law is small enough to stay inside."""
    import denoising_diffusion_pytorch as library
    import torch

    law = standard_law()
    law = Gaussian(0.05 * law.mean, 0.05**2 * law.eigenvalues, law.basis)
    common = {"like": torch.empty((0, 1, 2, 3)), "law": law, "rtol": 1e-3}

    class Network(torch.nn.Module):
        channels, out_dim, self_condition = 1, 1, False

        def __init__(self, answer, continuous=False):
            super().__init__()
            self.answer, self.random_or_learned_sinusoidal_cond = answer, continuous
            self.unused = torch.nn.Parameter(torch.zeros(()))  # it is asked for its device

        def forward(self, x, level, *_):
            return self.answer(x, level)

    def chain(betas):
        signal = np.cumprod(1 - np.asarray(betas, float))
        return np.sqrt((1 - signal) / signal)

    def gaussian(step, settings, pick, objective="pred_noise", timesteps=100):
        def build(model=None):
            def answer(x, time):
                sigma = float(levels[int(time[0])])
                clean = model(x, sigma)
                root = (1 + sigma**2) ** 0.5
                noise = (root * x - clean) / sigma
                outputs = {"pred_noise": noise, "pred_x0": clean}
                return {**outputs, "pred_v": (noise - sigma * clean) / root}[objective]

            return library.GaussianDiffusion(
                Network(answer),
                image_size=(2, 3),
                timesteps=timesteps,
                objective=objective,
                auto_normalize=False,
                **settings,
            )

        levels = chain(build().betas.double().numpy())

        def sample(start, model):
            with starting_from(start):
                return build(model).sample(len(start)).clone()

        words = [f"{key}={value}" for key, value in settings.items()]
        words = ", ".join([f"timesteps={timesteps}", f"objective={objective}", *words])
        sigmas = np.append(levels[pick], 0.0)
        return Case("GaussianDiffusion", words, step, sample, sigmas, "vp", **common)

    every = np.arange(100)[::-1]
    few = np.linspace(-1, 99, 21).astype(int)[:0:-1]
    for objective in ("pred_noise", "pred_x0", "pred_v"):
        yield gaussian(ddpm, {"beta_schedule": "linear"}, every, objective)
    for value, step in ETAS.items():
        settings = {"sampling_timesteps": 20, "ddim_sampling_eta": value}
        yield gaussian(step, settings, few)

    def elucidated(step, name):
        def build(model=None):
            def answer(x, log_sigma):
                sigma = float(torch.exp(4 * log_sigma.double()[0]))
                sd = 0.5
                total = (sigma**2 + sd**2) ** 0.5
                y = x * total  # it is handed c_in y
                return (model(y, sigma) - sd**2 / total**2 * y) * total / (sigma * sd)

            return library.ElucidatedDiffusion(
                Network(answer, continuous=True),
                image_size=2,
                channels=1,
                num_sample_steps=20,
                S_churn=0,
            )

        def sample(start, model):
            with starting_from(start / 80.0):
                return 2 * getattr(build(model), name)(len(start)) - 1

        sigmas = build().sample_schedule().double().numpy()
        settings = {**common, "like": torch.empty((0, 1, 2, 2)), "law": square}
        return Case("ElucidatedDiffusion", f"{name}, S_churn=0", step, sample, sigmas, **settings)

    square = standard_law(4)
    square = Gaussian(0.05 * square.mean, 0.05**2 * square.eigenvalues, square.basis)
    yield elucidated(heun, "sample")
    yield elucidated(rules.dpmpp_2m(), "sample_using_dpmpp")


@contextmanager
def starting_from(start):
    """Let the first draw of a sampler that makes its own starting noise be ours."""
    import torch

    draw, given = torch.randn, [start]

    def randn(*args, **settings):
        return given.pop() if given else draw(*args, **settings)

    with mock.patch.object(torch, "randn", randn):
        yield
