"""Flow matching, EDM and scores as denoisers, against diffusers and exact laws."""

import diffusers
import numpy as np
import pytest
import torch

import lindiff
from lindiff.deep.jacobian import Jacobian
from lindiff.deep.networks import Rows
from lindiff.deep.parametrisations import from_edm, from_flow_matching, from_score

# diffusers turns tensors into arrays in ways of which NumPy warns
pytestmark = pytest.mark.filterwarnings("ignore:__array_:DeprecationWarning")


@pytest.fixture(scope="module")
def unet():
    """A random network in colour."""
    torch.manual_seed(3)
    model = diffusers.UNet2DModel(
        sample_size=8,
        layers_per_block=1,
        norm_num_groups=4,
        block_out_channels=(8, 8),
        down_block_types=("DownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "UpBlock2D"),
    )
    return model.eval().requires_grad_(False)


@pytest.fixture
def x():
    return torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))


# float32 on both sides, in formulas of values of order one
NEAR = {"rtol": 1e-5, "atol": 1e-5}


@pytest.mark.parametrize("t", [0.02, 0.5, 0.9])
def test_flow_matching_gives_the_images_that_a_step_to_time_zero_gives(unet, x, t):
    scheduler = diffusers.FlowMatchEulerDiscreteScheduler()
    scheduler.set_timesteps(sigmas=[t])
    (time,) = scheduler.timesteps
    theirs = scheduler.step(unet(x, time).sample, time, x).prev_sample
    denoiser = from_flow_matching(lambda x, t: unet(x, t).sample, time_scale=1000)
    torch.testing.assert_close(denoiser(x / (1 - t), t / (1 - t)), theirs, **NEAR)


def test_euler_along_the_flow_is_ddim(unet, x):
    times = [0.9, 0.6, 0.3, 0.1]
    scheduler = diffusers.FlowMatchEulerDiscreteScheduler()
    scheduler.set_timesteps(sigmas=times)
    denoiser = from_flow_matching(lambda x, t: unet(x, t).sample, time_scale=1000)
    sigmas = [t / (1 - t) for t in times]
    *_, end = lindiff.sample(denoiser, 10 * x, [*sigmas, 0.0], step=lindiff.ddim)  # 1 / (1 - 0.9)
    for time in scheduler.timesteps:
        x = scheduler.step(unet(x, time).sample, time, x).prev_sample
    torch.testing.assert_close(end.x, x, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("sigma_data", [0.5, 1.3])
@pytest.mark.parametrize("sigma", [0.01, 0.7, 60.0])
def test_edm_gives_the_images_of_its_own_preconditioning(unet, x, sigma, sigma_data):
    scheduler = diffusers.EDMEulerScheduler(sigma_data=sigma_data)
    y = sigma * x
    noise = scheduler.precondition_noise(sigma)
    out = unet(scheduler.precondition_inputs(y, torch.tensor(sigma)), noise).sample
    theirs = scheduler.precondition_outputs(y, out, sigma)
    denoiser = from_edm(lambda x, noise: unet(x, noise).sample, sigma_data=sigma_data)
    torch.testing.assert_close(denoiser(y, sigma), theirs, **NEAR)


def test_a_network_that_returns_clean_images_is_told_a_level_for_each(unet, x):
    inner = from_edm(lambda x, noise: unet(x, noise).sample)

    def clean(y, sigma):
        assert sigma.shape == (len(y),)
        return inner(y, float(sigma[0]))

    torch.testing.assert_close(from_edm(clean, sigma_data=None)(x, 0.7), inner(x, 0.7))


def test_a_score_gives_the_images_of_a_step_of_its_scheduler(unet, x):
    scheduler = diffusers.ScoreSdeVeScheduler(sigma_min=0.1, sigma_max=5.0)
    scheduler.set_timesteps(10)
    scheduler.set_sigmas(10)
    time, (high, low) = scheduler.timesteps[0], scheduler.discrete_sigmas.flip(0)[:2].tolist()
    y = high * x
    score = unet(y, torch.tensor([high])).sample
    theirs = scheduler.step_pred(score, time, y).prev_sample_mean
    denoised = from_score(lambda y, sigma: unet(y, sigma).sample)(y, high)
    torch.testing.assert_close(y + (1 - (low / high) ** 2) * (denoised - y), theirs, **NEAR)


EXACT = {
    "flow": lambda law: from_flow_matching(lambda x, t: flow(law, x, float(t[0]))),
    "edm": lambda law: from_edm(lambda x, noise: edm(law, x, float((4 * noise[0]).exp()))),
    "score": lambda law: from_score(lambda y, s: (law(y, float(s[0])) - y) / float(s[0]) ** 2),
}


def flow(wiener, x, t):
    """The velocity of a law whose best denoiser is known: E[eps - x | x_t]."""
    sigma = t / (1 - t)
    clean = wiener(x / (1 - t), sigma)
    return (x - clean) / t


def edm(wiener, x, sigma):
    """What EDM's network ought to return for this law, data of 1/2."""
    total = (sigma**2 + 0.25) ** 0.5
    y = total * x
    return (wiener(y, sigma) - 0.25 / total**2 * y) * total / (sigma * 0.5)


@pytest.mark.parametrize("name", EXACT)
def test_the_exact_prediction_gives_the_exact_denoiser_and_its_jacobian(random_law, name):
    law = random_law(np.array([9.0, 1.0, 0.1]), dim=4)
    wiener = lindiff.LinearDenoiser(law)
    denoiser = EXACT[name](wiener)
    y = torch.from_numpy(np.random.default_rng(0).standard_normal((2, 4)))
    for sigma in (0.05, 1.0, 20.0):
        torch.testing.assert_close(denoiser(y, sigma), wiener(y, sigma))
        exact = Jacobian(wiener, y[0], sigma).dense()
        np.testing.assert_allclose(Jacobian(denoiser, y[0], sigma).dense(), exact, atol=1e-9)


def test_the_weights_tell_the_precision_of_rows():
    class Network(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = torch.nn.Linear(4, 4)

        def forward(self, x, t):
            return self.layer(x)

    denoiser = from_score(Network())
    rows = np.ones((2, 4))  # float64, while the network is float32
    expected = denoiser(torch.ones(2, 4), 0.5).detach().numpy()
    np.testing.assert_array_equal(Rows(denoiser, (4,))(rows, 0.5), expected)
    assert list(from_score(lambda y, sigma: y).parameters()) == []


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda d: d(torch.ones(1, 2), 0.0), "sigma is 0.0; expected a finite number > 0"),
        (lambda d: d(np.ones((1, 2)), 1.0), "y is of type ndarray .*; expected a Tensor"),
        (lambda d: from_edm(d, sigma_data=0.0), "sigma_data is 0.0; expected a finite number > 0"),
        (lambda d: from_flow_matching(d, time_scale=-1), "time_scale is -1; expected"),
    ],
)
def test_wrong_input_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call(from_flow_matching(lambda x, t: x))
