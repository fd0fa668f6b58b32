"""Linear diffusion as a correlation machine: denoisers, samplers with exact laws, power iteration.

The package behind the book. Everything below can be imported from here. Data sets, spectra of
images, the oracle for samplers and deep denoisers are in :mod:`lindiff.data`,
:mod:`lindiff.frequency`, :mod:`lindiff.testing` and :mod:`lindiff.deep`.
"""

from typing import TYPE_CHECKING

from lindiff.chains import chain_limits, draw_chain, overlap_limit, projection_chain
from lindiff.clocks import clock, operator_clock, sampler_clock
from lindiff.denoisers import (
    GuidedDenoiser,
    LinearDenoiser,
    gradient_flow,
    hard_threshold,
    project,
    wiener,
)
from lindiff.draws import draw_alignment, draw_overlaps, wishart
from lindiff.finite_data import (
    denoiser_risk,
    effective_noise,
    gaussian_fit_kl,
    generated_variance,
    infinite_draw_risk,
    least_squares_denoiser,
    single_draw_risk,
)
from lindiff.gaussian import Gaussian, kl_divergence, wasserstein2
from lindiff.laws import affine_map, contributions, draw, law
from lindiff.levels import best_levels
from lindiff.mixtures import EmpiricalBayes, GaussianMixture
from lindiff.multistep import dpmpp_2m
from lindiff.pca import noisy_pca
from lindiff.power import krylov, power_iteration, subspace_iteration
from lindiff.samplers import ancestral, ddim, ddim_eta, ddpm, heun, redenoise, sample
from lindiff.schedules import from_betas, from_vp, geometric, karras, to_vp
from lindiff.spiked import (
    alignment_limit,
    eigenvalue_limit,
    emergence_sigma,
    general_limits,
    information_plus_noise_limits,
    mixing,
    shrink,
    spike_from_eigenvalue,
    subspace_limit,
)
from lindiff.subspaces import align_signs, alignment, fixed_signs, overlaps, principal_angles
from lindiff.sweeps import sweep

__all__ = [
    "EmpiricalBayes",
    "Gaussian",
    "GaussianMixture",
    "GuidedDenoiser",
    "LinearDenoiser",
    "affine_map",
    "align_signs",
    "alignment",
    "alignment_limit",
    "ancestral",
    "best_levels",
    "chain_limits",
    "clock",
    "contributions",
    "ddim",
    "ddim_eta",
    "ddpm",
    "denoiser_risk",
    "dpmpp_2m",
    "draw",
    "draw_alignment",
    "draw_chain",
    "draw_overlaps",
    "effective_noise",
    "eigenvalue_limit",
    "emergence_sigma",
    "fixed_signs",
    "from_betas",
    "from_vp",
    "gaussian_fit_kl",
    "general_limits",
    "generated_variance",
    "geometric",
    "gradient_flow",
    "hard_threshold",
    "heun",
    "infinite_draw_risk",
    "information_plus_noise_limits",
    "karras",
    "kl_divergence",
    "krylov",
    "law",
    "least_squares_denoiser",
    "mixing",
    "noisy_pca",
    "operator_clock",
    "overlap_limit",
    "overlaps",
    "power_iteration",
    "principal_angles",
    "project",
    "projection_chain",
    "redenoise",
    "sample",
    "sampler_clock",
    "shrink",
    "single_draw_risk",
    "spike_from_eigenvalue",
    "subspace_iteration",
    "subspace_limit",
    "sweep",
    "to_vp",
    "wasserstein2",
    "wiener",
    "wishart",
]

__version__: str
if not TYPE_CHECKING:  # a type checker would take any name for an attribute

    def __getattr__(name: str) -> str:
        """Read the version from the metadata of the installed package, when it is asked for."""
        if name == "__version__":
            from importlib.metadata import version

            return version("lindiff")
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
