"""Networks: preconditioning, transformations by torch.func, wrong input, rows."""

import json
import math
from itertools import pairwise

import numpy as np
import pytest
import torch
from torch.func import functional_call, jacrev, jvp, vjp, vmap

from lindiff.deep.networks import Config, Rows, UNet, precondition
from lindiff.samplers import sample
from lindiff.schedules import karras

SMALL = Config(width=16, deep_width=16, blocks=1, deep_blocks=1, mean=0.3, sigma_data=0.5)


@pytest.fixture(scope="module")
def network():
    """A small network in float64 with random weights everywhere, so that no layer is zero."""
    return random_network(SMALL)


def random_network(config, dtype=torch.float64):
    torch.manual_seed(0)
    network = UNet(config).to(dtype).eval()
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    return network.requires_grad_(False)


def images(n=3, channels=1, size=8, seed=1):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(n, channels, size, size, dtype=torch.float64, generator=generator)


# ---------------------------------------------------------------- form and preconditioning


def test_a_default_network_has_less_than_a_million_parameters():
    assert sum(p.numel() for p in UNet(Config()).parameters()) < 1e6


@pytest.mark.parametrize("sigma", [1e-3, 0.5, 1e3])
def test_an_untrained_network_is_the_wiener_filter_of_white_data(sigma):
    y, gain = images(), 0.25 / (0.25 + sigma**2)
    out = UNet(SMALL).double()(y, sigma)
    torch.testing.assert_close(out, 0.3 + gain * (y - 0.3), rtol=1e-12, atol=1e-12)


def test_the_coefficients_make_input_and_target_of_unit_variance():
    # The defining property [Karras et al. 2022, appendix B.6], on white data, by Monte Carlo:
    # 40,000 pixels, so that a variance has relative error sqrt(2 / 40000) = 0.7 %.
    generator = torch.Generator().manual_seed(0)
    x, noise = (torch.randn(400, 1, 10, 10, generator=generator) for _ in range(2))
    x, sigma, seen = 0.3 + 0.5 * x, 0.8, {}

    def keep(z, level):
        seen["input"], seen["level"] = z, level
        return torch.zeros_like(z)

    y = x + sigma * noise
    without = precondition(keep, mean=0.3, sigma_data=0.5)(y, sigma)
    with_one = precondition(lambda z, level: torch.ones_like(z), mean=0.3, sigma_data=0.5)(y, sigma)
    target = (x - without) / (with_one - without)
    assert abs(seen["input"].var() - 1) < 0.03
    assert abs(target.var() - 1) < 0.03
    torch.testing.assert_close(seen["level"], torch.full((400,), math.log(0.8) / 4))


@pytest.mark.parametrize("shape", [(3,), (3, 5), (3, 2, 5), (3, 1, 4, 4)])
def test_any_number_of_axes_may_follow_that_of_the_samples(shape):
    seen = []
    denoiser = precondition(lambda x, noise: seen.append(noise) or 0 * x, sigma_data=2.0)
    out = denoiser(torch.ones(shape), torch.tensor([0.5, 1.0, 2.0]))
    gains = 4 / (4 + torch.tensor([0.25, 1.0, 4.0]))
    torch.testing.assert_close(out, gains.reshape(3, *[1] * (len(shape) - 1)).expand(shape))
    torch.testing.assert_close(seen[0], torch.tensor([0.5, 1.0, 2.0]).log() / 4)
    torch.testing.assert_close(denoiser(torch.ones(shape), 1.0), torch.full(shape, 0.8))


def test_an_affine_network_stays_affine_and_the_same_denoiser_as_by_hand():
    y, sigma = images(), 0.7
    out = precondition(lambda z, level: 2 * z, mean=0.3, sigma_data=0.5)(y, sigma)
    variance = 0.25 + 0.49
    gain = 0.25 / variance + 2 * 0.7 * 0.5 / variance
    torch.testing.assert_close(out, 0.3 + gain * (y - 0.3), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(("channels", "size"), [(1, (8, 12)), (3, (4, 16)), (2, (28, 28))])
@pytest.mark.parametrize("coordinates", [0, 2])
def test_any_channels_and_any_size_divisible_by_four_pass(channels, size, coordinates):
    network = UNet(Config(channels=channels, width=16, deep_width=16, coordinates=coordinates))
    y = torch.zeros(2, channels, *size)
    assert network(y, 0.5).shape == y.shape


def test_each_image_is_denoised_on_its_own_at_its_own_noise_level(network):
    y, sigma = images(), torch.tensor([0.1, 1.0, 5.0], dtype=torch.float64)
    together = network(y, sigma)
    for k in range(3):
        alone = network(y[k : k + 1], float(sigma[k]))
        torch.testing.assert_close(together[k : k + 1], alone, rtol=1e-10, atol=1e-12)
    assert not torch.allclose(together[0], network(y[:1], 1.0)[0], atol=1e-3)


@pytest.mark.parametrize("coordinates", [0, 2])
def test_coordinates_let_the_network_know_where_a_pixel_is(coordinates):
    # Away from the border, a constant image looks the same everywhere but for coordinates.
    one = Config(width=16, deep_width=16, blocks=1, deep_blocks=1, coordinates=coordinates)
    out = random_network(one)(torch.ones(1, 1, 96, 96, dtype=torch.float64), 0.5)
    centre = out[0, 0, 40:56, 40:56]
    spread = (centre[::4, ::4] - centre[0, 0]).abs().max()
    assert (spread > 1e-4) == (coordinates == 2)


def test_a_configuration_survives_json():
    assert Config(**json.loads(json.dumps(SMALL.to_dict()))) == SMALL


# ---------------------------------------------------------------- derivatives


def test_a_network_is_differentiable_twice_in_the_image_and_in_the_noise_level(network):
    y = images(1, size=4).requires_grad_()
    sigma = torch.tensor([0.7], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(network, (y, sigma))
    assert torch.autograd.gradgradcheck(network, (y, sigma))


# torch's own forward mode compiles with what torch itself calls deprecated
@pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated:DeprecationWarning")
def test_products_with_the_jacobian_by_vjp_jvp_and_vmap_agree_with_the_matrix(network):
    y = images(1, size=4)

    def flat(z):
        return network(z.reshape(1, 1, 4, 4), 0.7).reshape(-1)

    point, eye = y.reshape(-1), torch.eye(16, dtype=torch.float64)
    dense = torch.autograd.functional.jacobian(flat, point)
    _, pull = vjp(flat, point)
    torch.testing.assert_close(vmap(lambda v: pull(v)[0])(eye), dense, rtol=1e-9, atol=1e-12)
    columns = vmap(lambda v: jvp(flat, (point,), (v,))[1])(eye)
    torch.testing.assert_close(columns.T, dense, rtol=1e-9, atol=1e-12)
    _, push = vjp(lambda v: pull(v)[0], eye[0])  # the adjoint of the adjoint
    torch.testing.assert_close(vmap(lambda v: push(v)[0])(eye).T, dense, rtol=1e-9, atol=1e-12)


def test_images_and_noise_levels_can_be_mapped_over(network):
    y, sigma = images(), torch.tensor([0.1, 1.0, 5.0], dtype=torch.float64)
    mapped = vmap(lambda one, level: network(one[None], level)[0])(y, sigma)
    torch.testing.assert_close(mapped, network(y, sigma), rtol=1e-10, atol=1e-12)


def test_weights_can_be_differentiated_without_touching_the_network(network):
    weights = dict(network.named_parameters())
    before = {key: value.clone() for key, value in weights.items()}
    gradients = jacrev(lambda w: functional_call(network, w, (images(), 0.7)).sum())(weights)
    assert all(gradients[key].abs().sum() > 0 for key in ("head.weight", "tail.bias"))
    assert all(torch.equal(value, before[key]) for key, value in weights.items())


# ---------------------------------------------------------------- wrong input


@pytest.mark.parametrize(
    ("y", "message"),
    [
        (np.zeros((1, 1, 8, 8)), "y is a ndarray; expected a torch tensor"),
        (torch.zeros(1, 8, 8), r"y has shape \(1, 8, 8\); expected \(n, 1, h, w\)"),
        (torch.zeros(1, 3, 8, 8), r"y has shape \(1, 3, 8, 8\)"),
        (torch.zeros(1, 1, 8, 10), "divisible by 4"),
        (torch.zeros(1, 1, 10, 8), "divisible by 4"),
        (torch.zeros(1, 1, 8, 8, dtype=torch.int64), r"y has dtype torch.int64; expected floating"),
    ],
)
def test_images_of_a_wrong_form_are_refused(y, message):
    with pytest.raises(ValueError, match=message):
        UNet(SMALL)(y, 0.5)


@pytest.mark.parametrize(
    ("sigma", "message"),
    [
        (0.0, "sigma is 0.0; expected a finite number > 0"),
        (-1.0, "sigma is -1.0"),
        (math.nan, "sigma is nan"),
        ("much", "sigma is much"),
        (torch.tensor(-1.0), "sigma is -1.0; expected finite numbers > 0"),
        (torch.tensor([1.0, math.inf]), r"sigma is \[1.0, inf\]"),
        (torch.ones(3), r"sigma has shape \(3,\); expected a number or \(2,\)"),
        (torch.ones(2, 1), r"sigma has shape \(2, 1\)"),
    ],
)
def test_noise_levels_of_a_wrong_form_are_refused(sigma, message):
    with pytest.raises(ValueError, match=message):
        UNet(SMALL)(torch.zeros(2, 1, 8, 8), sigma)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"channels": 0}, "channels is 0; expected an integer of at least 1"),
        ({"width": 24}, "width is 24; expected a multiple of 16"),
        ({"deep_width": 20}, "deep_width is 20; expected a multiple of 16"),
        ({"coordinates": 1}, "coordinates is 1; expected 0 or 2"),
        ({"mean": math.inf}, "mean is inf"),
        ({"sigma_data": 0.0}, "sigma_data is 0.0; expected a finite number > 0"),
    ],
)
def test_an_impossible_configuration_is_refused(wrong, message):
    with pytest.raises(ValueError, match=message):
        Config(**wrong)


def test_impossible_moments_are_refused_before_any_image_comes():
    with pytest.raises(ValueError, match="sigma_data is -1"):
        precondition(lambda x, noise: x, sigma_data=-1.0)


# ---------------------------------------------------------------- rows


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_numpy_rows_come_back_as_rows_of_the_same_precision(network, dtype):
    rows = images(5).numpy().reshape(5, 64).astype(dtype)
    out = Rows(network, (1, 8, 8), batch=2)(rows, 0.7)  # two full parts and a rest
    direct = network(torch.from_numpy(rows).double().reshape(5, 1, 8, 8), 0.7).reshape(5, 64)
    assert out.dtype == dtype
    np.testing.assert_allclose(out, direct.numpy(), rtol=1e-5 if dtype == np.float32 else 1e-10)


def test_gradients_pass_through_rows_of_tensors(network):
    rows = images(2).reshape(2, 64).requires_grad_()
    Rows(network, (1, 8, 8))(rows, 0.7).sum().backward()
    assert rows.grad.abs().sum() > 0


def test_rows_work_with_any_callable_and_with_the_samplers():
    denoiser = Rows(precondition(lambda x, noise: 0 * x), (1, 2, 2))
    sigmas = karras(5, 0.1, 2.0)
    end = list(sample(denoiser, np.ones((3, 4)), sigmas))[-1].x
    factor = np.prod([(1 + a * b) / (1 + a * a) for a, b in pairwise(sigmas)])
    np.testing.assert_allclose(end, factor, rtol=1e-6)  # Rows of a bare function uses float32


@pytest.mark.parametrize("y", [np.zeros((2, 63)), np.zeros(64), torch.zeros(2, 65)])
def test_rows_of_a_wrong_length_are_refused(network, y):
    with pytest.raises(ValueError, match=r"y has shape .* expected \(n, 64\)"):
        Rows(network, (1, 8, 8))(y, 0.5)


@pytest.mark.parametrize("dtype", [int, np.uint8, bool])
def test_rows_of_integers_are_refused_and_not_cut_off(network, dtype):
    with pytest.raises(ValueError, match=r"y has dtype .*; expected floating-point numbers"):
        Rows(network, (1, 8, 8))(np.zeros((2, 64), dtype), 0.5)
