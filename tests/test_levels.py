"""The best levels for a spectrum."""

import numpy as np
import pytest

from lindiff.denoisers import LinearDenoiser
from lindiff.gaussian import Gaussian
from lindiff.laws import law
from lindiff.levels import best_levels
from lindiff.multistep import dpmpp_2m
from lindiff.samplers import ddim
from lindiff.schedules import geometric, karras

LAM = np.geomspace(4.0, 0.01, 12)
DENOISER = LinearDenoiser(Gaussian(np.zeros(12), LAM, np.eye(12)))


def distance(sigmas, step):
    """W_2 of what is generated to the law."""
    variance = law(DENOISER, sigmas, step=step).variance[-1]
    return np.sqrt(((np.sqrt(variance) - np.sqrt(LAM)) ** 2).sum())


@pytest.mark.parametrize("n", [2, 5])
@pytest.mark.parametrize("scale", [0.3, 40.0])
def test_for_one_mode_the_angles_are_equal_up_to_the_start(n, scale):
    one = LinearDenoiser(Gaussian(np.zeros(1), [scale**2], np.eye(1)))
    levels = best_levels(one, [scale**2], n, 10 * scale)
    angles = np.arctan(levels / scale)
    np.testing.assert_allclose(angles, angles[0] * np.linspace(1, 0, n + 1), atol=1e-4)


@pytest.mark.parametrize("step", [ddim, dpmpp_2m], ids=["ddim", "2m"])
def test_no_small_change_and_no_usual_schedule_is_better(rng, step):
    levels = best_levels(DENOISER, LAM, 6, 20.0, step=step)
    assert levels.shape == (7,) and levels[0] == 20 and levels[-1] == 0
    assert (np.diff(levels) < 0).all()
    best = distance(levels, step)
    for _ in range(50):
        changed = levels.copy()
        changed[1:-1] *= np.exp(0.02 * rng.standard_normal(5))
        assert distance(changed, step) > best
    usual = [make(6, low, 20.0) for low in (0.03, 0.1, 0.3) for make in (karras, geometric)]
    assert best < min(distance(sigmas, step) for sigmas in usual)


WRONG = {
    "n_steps is 1": lambda: best_levels(DENOISER, LAM, 1, 20.0),
    "sigma_max is 0": lambda: best_levels(DENOISER, LAM, 4, 0.0),
    "variances has shape (3,)": lambda: best_levels(DENOISER, LAM[:3], 4, 20.0),
    "variances contains -1.0": lambda: best_levels(DENOISER, -np.ones(12), 4, 20.0),
}


@pytest.mark.parametrize("message", WRONG)
def test_wrong_input_is_named(message):
    with pytest.raises(ValueError) as error:
        WRONG[message]()
    assert message in str(error.value)
