"""The networks on patches: preconditioning, derivatives, what it sees, and wrong input."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from lindiff.deep import Jacobian, MixerConfig, TransformerConfig, train

COMMON = {"size": 8, "width": 16, "blocks": 2, "mean": 0.3, "sigma_data": 0.5}
SMALL = [TransformerConfig(heads=2, **COMMON), MixerConfig(hidden=16, **COMMON)]
each = pytest.mark.parametrize("config", SMALL, ids=["transformer", "mixer"])


@pytest.fixture(scope="module", params=SMALL, ids=["transformer", "mixer"])
def network(request):
    """A small network in float64 with random weights everywhere, so that no gate is closed."""
    torch.manual_seed(0)
    network = request.param.network().double().eval()
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    return network.requires_grad_(False)


def image(n=1, seed=0):
    draws = torch.Generator().manual_seed(seed)
    return torch.randn(n, 1, 8, 8, dtype=torch.float64, generator=draws)


@each
@pytest.mark.parametrize("sigma", [1e-3, 0.5, 1e3])
def test_an_untrained_network_is_the_wiener_filter_of_white_data(config, sigma):
    y, gain = image(3), 0.25 / (0.25 + sigma**2)
    out = config.network().double()(y, sigma)
    torch.testing.assert_close(out, 0.3 + gain * (y - 0.3), rtol=1e-12, atol=1e-12)


def test_each_image_is_denoised_on_its_own_at_its_own_noise_level(network):
    y, sigma = image(3), torch.tensor([0.1, 1.0, 10.0], dtype=torch.float64)
    together = network(y, sigma)
    for k in range(3):
        torch.testing.assert_close(together[k : k + 1], network(y[k : k + 1], float(sigma[k])))


def test_every_patch_sees_every_other_and_knows_its_place(network):
    j = torch.from_numpy(Jacobian(network, image()[0], 0.5).dense())
    pixels = np.arange(64).reshape(8, 8)
    corner, opposite = pixels[:4, :4].ravel(), pixels[4:, 4:].ravel()
    assert j[opposite][:, corner].abs().max() > 1e-4
    constant = network(torch.ones(1, 1, 8, 8).double(), 0.5)[0, 0]
    assert (constant[:4, :4] - constant[4:, 4:]).abs().max() > 1e-4


def test_products_with_its_jacobian_agree_with_the_matrix(network):
    y = image()[0]
    whole = torch.autograd.functional.jacobian(lambda y: network(y[None], 0.7)[0], y)
    whole = whole.reshape(64, 64).numpy()
    jacobian, v = Jacobian(network, y, 0.7), np.random.default_rng(0).standard_normal((3, 64))
    np.testing.assert_allclose(jacobian.jv(v), v @ whole.T, rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(jacobian.vj(v), v @ whole, rtol=1e-9, atol=1e-9)


@each
def test_it_is_trained_by_the_same_loop_and_learns_a_mean(tmp_path, config):
    pattern = np.linspace(-1, 1, 64).reshape(1, 1, 8, 8).astype(np.float32)
    x = np.repeat(pattern, 8, axis=0)
    config = replace(config, mean=0.0, sigma_data=0.6)
    network = train(config, x, tmp_path / "a.safetensors", steps=150, seed=0, batch=8, rate=1e-2)
    y = torch.from_numpy(pattern + 2 * np.random.default_rng(0).standard_normal((8, 1, 8, 8)))
    error = ((network(y.float(), 2.0) - torch.from_numpy(pattern)) ** 2).mean()
    white = 0.6**2 * 4 / (0.6**2 + 4)  # of the best that knows the variance only
    assert error < 0.3 * white


@pytest.mark.parametrize(
    ("y", "message"),
    [
        (np.zeros((1, 1, 8, 8)), "y is a ndarray; expected a torch tensor"),
        (torch.zeros(1, 8, 8), r"y has shape \(1, 8, 8\); expected \(n, 1, 8, 8\)"),
        (torch.zeros(1, 1, 12, 12), r"y has shape \(1, 1, 12, 12\); expected \(n, 1, 8, 8\)"),
        (torch.zeros(1, 3, 8, 8), r"y has shape \(1, 3, 8, 8\); expected \(n, 1, 8, 8\)"),
        (torch.zeros(1, 1, 8, 8, dtype=torch.int64), "expected floating-point numbers"),
    ],
)
def test_images_of_a_wrong_form_are_refused(network, y, message):
    with pytest.raises(ValueError, match=message):
        network(y, 1.0)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"size": 30}, "size is 30; expected a multiple of patch, 4"),
        ({"width": 30}, "width is 30; expected a multiple of heads, 4"),
        ({"blocks": 0}, "blocks is 0"),
        ({"sigma_data": 0.0}, "sigma_data is 0.0"),
        ({"mean": float("nan")}, "mean is nan"),
    ],
)
def test_an_impossible_configuration_is_refused(wrong, message):
    with pytest.raises(ValueError, match=message):
        TransformerConfig(**wrong)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"size": 30}, "size is 30; expected a multiple of patch, 4"),
        ({"hidden": 0}, "hidden is 0"),
        ({"mean": float("inf")}, "mean is inf"),
    ],
)
def test_an_impossible_mixer_is_refused(wrong, message):
    with pytest.raises(ValueError, match=message):
        MixerConfig(**wrong)


def test_a_configuration_survives_as_a_dict():
    for config in SMALL:
        assert type(config)(**config.to_dict()) == config
