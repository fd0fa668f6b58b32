"""Schedulers of diffusers under the oracle."""

import diffusers
import pytest
import torch

import lindiff
from lindiff.deep.schedulers import SchedulerSampler
from lindiff.testing import sampler_report

# diffusers turns tensors into arrays in ways of which NumPy warns
pytestmark = pytest.mark.filterwarnings("ignore:__array_:DeprecationWarning")


def report(name, step, n_steps=10, dtype=torch.float64, **config):
    """Report on a scheduler; its levels are in single precision."""
    sample = SchedulerSampler(getattr(diffusers, name)(**config), n_steps)
    like = torch.empty((0, 6), dtype=dtype)
    settings = {"coordinates": sample.coordinates, "like": like, "rtol": 1e-4, "rng": 0}
    return sampler_report(sample, sample.sigmas, step=step, **settings)


@pytest.mark.parametrize("prediction", ["epsilon", "sample", "v_prediction"])
@pytest.mark.parametrize("name", ["DDIMScheduler", "EulerDiscreteScheduler"])
def test_every_prediction_gives_the_same_law(name, prediction):
    off = {"clip_sample": False} if name == "DDIMScheduler" else {}
    assert report(name, lindiff.ddim, prediction_type=prediction, **off).agrees


def test_the_coordinates_are_those_of_the_state():
    for name, coordinates in (("DDIMScheduler", "vp"), ("EulerDiscreteScheduler", "ve")):
        sample = SchedulerSampler(getattr(diffusers, name)(), 10)
        assert sample.coordinates == coordinates
        assert len(sample.sigmas) == 11
        assert sample.sigmas[-1] == 0


def test_a_scheduler_can_run_twice():
    sample = SchedulerSampler(diffusers.HeunDiscreteScheduler(), 10)
    start = torch.ones((2, 6), dtype=torch.float64)
    first, second = (sample(start, lambda x, sigma: x / (1 + sigma)) for _ in range(2))
    assert torch.equal(first, second)


def test_an_input_that_is_not_scaled_is_found():
    class Forgets(diffusers.EulerDiscreteScheduler):
        def scale_model_input(self, sample, timestep):
            super().scale_model_input(sample, timestep)
            return sample if sample.ndim else 0.5 * sample  # the loop forgets, the probe does not

    sample = SchedulerSampler(Forgets(), 10)
    like = torch.empty((0, 6), dtype=torch.float64)
    found = sampler_report(sample, sample.sigmas, like=like, rtol=1e-4)
    assert sample.coordinates == "ve"
    assert not found.agrees


def test_clipping_as_by_default_is_named():
    found = report("DDIMScheduler", lindiff.ddim)
    assert found.explanations == ("results are clipped at 1",)


@pytest.mark.parametrize("name", ["FlowMatchEulerDiscreteScheduler", "KDPM2DiscreteScheduler"])
def test_a_scheduler_of_another_kind_is_refused(name):
    scheduler = getattr(diffusers, name)()
    with pytest.raises(ValueError, match="expected one with alphas_cumprod"):
        SchedulerSampler(scheduler, 5)


def test_a_scheduler_asks_for_tensors_and_whole_steps():
    scheduler = diffusers.DDIMScheduler(clip_sample=False)
    sampler = SchedulerSampler(scheduler, 10)
    with pytest.raises(ValueError, match=r"start is of type ndarray; expected a tensor: .*like="):
        sampler_report(sampler, sampler.sigmas, coordinates=sampler.coordinates)
    for n_steps in (0, 1.5):
        with pytest.raises(ValueError, match="n_steps is"):
            SchedulerSampler(scheduler, n_steps)
