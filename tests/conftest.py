"""Fixtures and settings shared by the unit tests."""

import numpy as np
import pytest
from hypothesis import settings
from rendered import addresses, browser, site, visit  # noqa: F401  # fixtures of the built book

from lindiff.gaussian import Gaussian

# The same examples on every run and every machine: a red test can be repeated.
settings.register_profile(
    "lindiff", derandomize=True, deadline=None, database=None, max_examples=40
)
settings.load_profile("lindiff")


@pytest.fixture
def rng():
    """A generator with a fixed seed, fresh in each test."""
    return np.random.default_rng(20241014)


@pytest.fixture(scope="session")
def random_law():
    """Maker of Gaussian laws with given eigenvalues, a random mean and a random basis."""

    def make(eigenvalues, dim=None, seed=0):
        rng = np.random.default_rng(seed)
        dim = len(eigenvalues) if dim is None else dim
        rotation = np.linalg.qr(rng.standard_normal((dim, dim)))[0]
        return Gaussian(3 * rng.standard_normal(dim), eigenvalues, rotation[: len(eigenvalues)])

    return make
