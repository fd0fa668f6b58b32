"""Linear diffusion as a correlation machine: denoisers, samplers with exact laws, power iteration.

The package behind the book. Every name below is documented there with the formula it computes.
"""

from lindiff.alignment import align_signs, principal_angles  # `alignment` itself names the module
from lindiff.chains import chain_limits, projection_chain, sampler_clock
from lindiff.denoisers import (
    EmpiricalBayes,
    GaussianMixture,
    LinearDenoiser,
    hard_threshold,
    project,
    wiener,
)
from lindiff.gaussian import Gaussian, kl_divergence, wasserstein2
from lindiff.laws import compose, decompose, draw, law
from lindiff.power import clock, krylov, operator_clock, power_iteration, subspace_iteration
from lindiff.samplers import ancestral, ddim, ddpm, eta, heun, redenoise, sample
from lindiff.schedules import from_betas, from_vp, geometric, karras, to_vp

__all__ = [
    "EmpiricalBayes",
    "Gaussian",
    "GaussianMixture",
    "LinearDenoiser",
    "align_signs",
    "ancestral",
    "chain_limits",
    "clock",
    "compose",
    "ddim",
    "ddpm",
    "decompose",
    "draw",
    "eta",
    "from_betas",
    "from_vp",
    "geometric",
    "hard_threshold",
    "heun",
    "karras",
    "kl_divergence",
    "krylov",
    "law",
    "operator_clock",
    "power_iteration",
    "principal_angles",
    "project",
    "projection_chain",
    "redenoise",
    "sample",
    "sampler_clock",
    "subspace_iteration",
    "to_vp",
    "wasserstein2",
    "wiener",
]
