"""What the functions of the package take, said once for readers and for type checkers.

Arrays of NumPy, torch and other libraries have no common type, so that they are ``Any`` here; the
docstrings give their shapes.
"""

from collections.abc import Callable
from typing import Any, Protocol, TypeAlias

import numpy as np

# Source of randomness: a generator, the seed of a new one, or None for an unseeded one.
Rng: TypeAlias = np.random.Generator | int | None

# A symmetric array, SciPy sparse array or ``LinearOperator``, or a function of rows (k, d).
Operator: TypeAlias = Any

# Gain of a linear denoiser: a function ``(eigenvalues, sigma)`` of an array (r,) and a number.
Gain: TypeAlias = Callable[[np.ndarray, float], np.ndarray]

# Standard deviation of the noise that a step adds: a number, or a function of the gain of a mode.
Noise: TypeAlias = float | Callable[[Any], Any]

# What a run of a sampler has seen: levels and estimates, the latest last.
Past: TypeAlias = list[tuple[float, Any]]


class Denoiser(Protocol):
    """Any function that estimates clean data from data with noise of standard deviation `sigma`.

    What it returns has the shape and the array type of `y`, a batch.
    """

    def __call__(self, y: Any, sigma: float, /) -> Any:
        """Return the estimate."""


class HasGains(Protocol):
    """What the exact law of a sampler needs of a linear denoiser: the gain of each mode, (r,)."""

    def gains(self, sigma: float, /) -> np.ndarray:
        """Return the gains at one level."""


class StepRule(Protocol):
    """How a sampler goes from a state `x` at one level to the next.

    It returns the mean of the next state, and the standard deviation of the noise to add: a number,
    or a function of the gain where it differs between the modes of a linear denoiser.
    """

    def __call__(
        self, x: Any, denoised: Any, sigma: float, sigma_next: float, denoiser: Any, /
    ) -> tuple[Any, Noise]:
        """Return mean and standard deviation."""
