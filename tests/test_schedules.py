"""Noise schedules, and that VE and VP are one process."""

import math
import re

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lindiff.schedules import from_betas, from_vp, geometric, karras, to_vp

MAKERS = {
    "karras": karras,
    "karras, uniform": lambda n, low, high: karras(n, low, high, rho=1.0),
    "karras, flat": lambda n, low, high: karras(n, low, high, rho=50),
    "geometric": geometric,
}


@pytest.mark.parametrize("maker", MAKERS)
@given(
    n=st.integers(1, 300),
    low=st.floats(1e-8, 1e3),
    ratio=st.floats(1.01, 1e8),
)
def test_schedules_fall_strictly_from_sigma_max_through_sigma_min_to_zero(maker, n, low, ratio):
    high = low * ratio
    sigmas = MAKERS[maker](n, low, high)
    assert sigmas.shape == (n + 1,)
    assert sigmas[0] == high
    assert sigmas[-1] == 0
    assert (np.diff(sigmas) < 0).all()
    if n > 1:
        assert sigmas[-2] == pytest.approx(low, rel=1e-6)


def test_karras_is_equation_5_of_the_paper():
    n, low, high, rho = 9, 0.002, 80.0, 7.0
    expected = [
        (high ** (1 / rho) + i / (n - 1) * (low ** (1 / rho) - high ** (1 / rho))) ** rho
        for i in range(n)
    ]
    np.testing.assert_allclose(karras(n, low, high), [*expected, 0.0], rtol=1e-12)


def test_karras_with_exponent_one_is_uniform():
    np.testing.assert_allclose(karras(5, 1.0, 9.0, rho=1), [9, 7, 5, 3, 1, 0])


def test_karras_tends_to_geometric_as_the_exponent_grows():
    # the distance falls like 1/rho
    errors = [
        np.abs(karras(20, 0.01, 10, rho=rho) - geometric(20, 0.01, 10)).max() for rho in (1e3, 1e4)
    ]
    assert errors[1] < 1e-2
    assert errors[0] / errors[1] == pytest.approx(10, rel=0.05)


def test_geometric_levels_have_one_ratio():
    sigmas = geometric(12, 0.1, 70.0)
    np.testing.assert_allclose(sigmas[1:-1] / sigmas[:-2], (0.1 / 70) ** (1 / 11))


BETAS = {
    "linear": np.linspace(1e-4, 0.02, 1000),
    "one": [0.3],
    "tiny": [1e-16, 1e-12, 1e-8],
    "large": [0.999, 0.5, 0.99],
}


@pytest.mark.parametrize("name", BETAS)
def test_from_betas_is_the_signal_to_noise_ratio_of_the_chain(name):
    signal, noise, expected = 1.0, 0.0, [0.0]
    for beta in BETAS[name]:  # x_t = sqrt(1 - beta) x_{t-1} + sqrt(beta) noise
        signal, noise = signal * (1 - beta), (1 - beta) * noise + beta
        expected.append(math.sqrt(noise / signal))
    np.testing.assert_allclose(from_betas(BETAS[name]), expected[::-1], rtol=1e-9)


@pytest.mark.parametrize("name", ["linear", "one", "large"])
def test_from_betas_is_the_cumulative_product(name):
    alpha_bar = np.cumprod(1 - np.asarray(BETAS[name]))
    expected = np.sqrt((1 - alpha_bar) / alpha_bar)[::-1]
    # 1 - alpha_bar loses four digits at the first level
    np.testing.assert_allclose(from_betas(BETAS[name])[:-1], expected, rtol=1e-11)


def test_the_variance_preserving_chain_is_the_exploding_one_rescaled(rng):
    betas = np.linspace(0.01, 0.3, 25)
    sigmas = from_betas(betas)[::-1]
    preserving = exploding = rng.standard_normal((3, 4))
    for beta, before, after in zip(betas, sigmas[:-1], sigmas[1:], strict=True):
        noise = rng.standard_normal((3, 4))
        preserving = np.sqrt(1 - beta) * preserving + np.sqrt(beta) * noise
        exploding = exploding + np.sqrt(after**2 - before**2) * noise
        np.testing.assert_allclose(to_vp(exploding, after), preserving, rtol=1e-10)


@given(sigma=st.floats(0, 1e8), value=st.floats(-1e8, 1e8))
def test_to_vp_and_from_vp_are_inverse(sigma, value):
    x = np.array([[value, 1.0]])
    np.testing.assert_allclose(from_vp(to_vp(x, sigma), sigma), x, rtol=1e-12)
    np.testing.assert_allclose(to_vp(from_vp(x, sigma), sigma), x, rtol=1e-12)


def test_white_noise_plus_unit_data_has_unit_variance_in_vp_coordinates(rng):
    n, sigma = 50_000, 3.0
    noisy = rng.standard_normal(n) + sigma * rng.standard_normal(n)
    assert to_vp(noisy, sigma).var() == pytest.approx(1, abs=4 * np.sqrt(2 / n))


@pytest.mark.parametrize("move", [to_vp, from_vp])
def test_coordinates_keep_the_array_type_and_the_precision(move):
    assert move(np.ones((2, 3), np.float32), 2.0).dtype == np.float32
    tensor = move(torch.ones(2, 1, 4, 4), 2.0)
    assert tensor.dtype == torch.float32
    assert tensor.shape == (2, 1, 4, 4)


WRONG = {
    "no steps": (lambda: karras(0, 0.1, 1.0), "n_steps is 0; expected an integer of at least 1"),
    "steps as text": (lambda: karras("5", 0.1, 1.0), "n_steps is '5'; expected an integer"),
    "half a step": (lambda: geometric(1.5, 0.1, 1.0), "n_steps is 1.5; expected an integer"),
    "sigma_min zero": (lambda: karras(3, 0.0, 1.0), "sigma_min is 0.0; expected a finite number >"),
    "sigma_min negative": (lambda: geometric(3, -1.0, 1.0), "sigma_min is -1.0; expected"),
    "sigma_min nan": (lambda: geometric(3, np.nan, 1.0), "sigma_min is nan; expected a finite"),
    "sigma_max infinite": (lambda: karras(3, 0.1, np.inf), "sigma_max is inf; expected a finite"),
    "reversed": (
        lambda: karras(3, 2.0, 1.0),
        "sigma_min is 2.0 and sigma_max 1.0; expected sigma_min < sigma_max",
    ),
    "equal": (lambda: geometric(3, 1.0, 1.0), "expected sigma_min < sigma_max"),
    "rho zero": (lambda: karras(3, 0.1, 1.0, rho=0), "rho is 0; expected a finite number > 0"),
    "beta one": (lambda: from_betas([0.5, 1.0]), "betas contains 1.0; expected numbers strictly"),
    "beta zero": (lambda: from_betas([0.0]), "betas contains 0.0; expected numbers strictly"),
    "beta nan": (lambda: from_betas([np.nan]), "betas is nan at index [0]; expected finite"),
    "no betas": (lambda: from_betas([]), "betas is empty; expected"),
    "betas in a matrix": (lambda: from_betas([[0.5]]), "betas has shape (1, 1); expected 1"),
    "to_vp negative": (lambda: to_vp(1.0, -1.0), "sigma is -1.0; expected a finite number >= 0"),
    "from_vp nan": (lambda: from_vp(1.0, np.nan), "sigma is nan; expected a finite number >= 0"),
}


@pytest.mark.parametrize("case", WRONG)
def test_wrong_input_is_named_with_what_was_expected(case):
    call, message = WRONG[case]
    with pytest.raises(ValueError, match=re.escape(message)):
        call()


DEGENERATE = {
    "levels beyond float64": (lambda: from_betas([0.9] * 400), "betas"),
    "levels that coincide": (lambda: from_betas([0.5, 1e-20]), "betas"),
    "rho too small for float64": (lambda: karras(3, 0.002, 80.0, rho=1e-3), "rho"),
}


@pytest.mark.parametrize("case", DEGENERATE)
def test_a_schedule_that_float64_cannot_hold_is_refused(case):
    call, message = DEGENERATE[case]
    with pytest.raises(ValueError, match=message):
        call()
