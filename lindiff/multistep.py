r"""Multistep rules: DDIM's step with an estimate that is extrapolated from those of earlier levels.

One call of the denoiser per step, as in DDIM; what makes the order higher is the memory of a run. A
step rule with a memory has a method ``begin()`` that returns the rule for one run, and adds no
noise. Called without a past it takes DDIM's step.
"""

from collections.abc import Callable
from functools import update_wrapper
from math import log
from typing import Any

from lindiff.samplers import ddim
from lindiff.types import Denoiser, Past, StepRule


class Multistep:
    r"""Step rule :math:`\frac{\sigma'}{\sigma}x+(1-\frac{\sigma'}{\sigma})\tilde D` with a memory.

    The first step of a run and a step to level zero are DDIM's, with :math:`\tilde D=D`.

    Parameters
    ----------
    extrapolate : callable
        ``extrapolate(past, sigma_next)`` returns :math:`\tilde D` from the levels and the
        estimates of the run, a list of two to four pairs ``(sigma, denoised)``, the latest last.
        It must be linear in the estimates, with coefficients that add up to 1.

    Examples
    --------
    >>> last_two = Multistep(lambda past, sigma_next: 2 * past[-1][1] - past[-2][1])
    >>> rule = last_two.begin()
    >>> rule(4.0, 0.0, 4.0, 2.0, None), rule(2.0, 1.0, 2.0, 1.0, None)
    ((2.0, 0.0), (2.0, 0.0))
    """

    def __init__(self, extrapolate: Callable[[Past, float], Any]) -> None:
        self.extrapolate = extrapolate
        update_wrapper(self, extrapolate)

    def begin(self) -> StepRule:
        """Return the rule for one run, which remembers what it has seen."""
        past: Past = []

        def rule(
            x: Any, denoised: Any, sigma: float, sigma_next: float, denoiser: Denoiser | None
        ) -> tuple[Any, float]:
            past.append((sigma, 1 * denoised))  # a copy: a denoiser may write into its last output
            del past[:-4]  # a state of a network is large
            if len(past) > 1 and sigma_next > 0:
                denoised = self.extrapolate(past, sigma_next)
            return ddim(x, denoised, sigma, sigma_next, denoiser)

        return rule

    def __call__(
        self, x: Any, denoised: Any, sigma: float, sigma_next: float, denoiser: Denoiser | None
    ) -> tuple[Any, float]:
        """Take the step of a rule without a past, which is DDIM's."""
        return ddim(x, denoised, sigma, sigma_next, denoiser)


@Multistep
def dpmpp_2m(past: Past, sigma_next: float) -> Any:
    r"""Second-order multistep rule DPM-Solver++ (2M) [Lu et al. 2022, alg. 2].

    With :math:`h_t=\log(\sigma_t/\sigma_{t-1})` it extrapolates the estimates of the last two
    levels to the middle of the step, :math:`\tilde D=D_t+\frac{h_t}{2h_{t+1}}(D_t-D_{t+1})`.

    Examples
    --------
    >>> import numpy as np
    >>> from lindiff import Gaussian, LinearDenoiser, geometric, law
    >>> denoiser = LinearDenoiser(Gaussian(np.zeros(1), [1.0], np.eye(1)))
    >>> law(denoiser, geometric(30, 0.01, 100.0), step=dpmpp_2m).variance[-1].round(3)
    array([1.012])
    """
    (higher, before), (sigma, denoised) = past[-2:]
    share = log(sigma / sigma_next) / (2 * log(higher / sigma))
    return denoised + share * (denoised - before)
