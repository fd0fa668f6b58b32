"""Training: the loss, resuming, several processes, and damaged states."""

import hashlib
import io
import json
import os
import subprocess
import sys
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from scipy.stats import kstest

import lindiff
from lindiff.deep import checkpoints
from lindiff.deep.checkpoints import _read_tensors, _write_tensors
from lindiff.deep.networks import Config, UNet
from lindiff.deep.training import (
    SIGMA_RANGE,
    _name,
    _share,
    _update,
    draw_batch,
    train,
    weighted_loss,
)
from lindiff.denoisers import LinearDenoiser
from lindiff.gaussian import Gaussian

SMALL = Config(width=16, deep_width=16, blocks=1, deep_blocks=1)
SETTINGS = {"steps": 8, "seed": 3, "batch": 8, "save_every": 3}


def data(n=24, seed=0):
    """Smooth images, which a network can learn to denoise."""
    rng = np.random.default_rng(seed)
    wave = np.sin(np.arange(8)[None] / 2 + 2 * np.pi * rng.random((n, 1)))
    return (wave[:, None, :, None] * wave[:, None, None, :]).astype(np.float32)


def interrupted_at(call):
    """An augmentation that leaves images alone, and stops the training at its n-th call."""
    calls = iter(range(call))

    def nothing(images, sigma, rng):
        if next(calls, None) is None:
            raise KeyboardInterrupt
        return images

    return nothing


# What each of two processes runs.
PROGRAM = """
import torch
torch.set_num_threads(1)
from accelerate import PartialState
from test_training import SETTINGS, SMALL, data
from lindiff.deep import checkpoints
from lindiff.deep.training import train

network = train(SMALL, data(), "shared.safetensors", **SETTINGS)
state = PartialState()
assert state.num_processes == 2
checkpoints.write_checkpoint(f"rank{state.process_index}.safetensors", network, {})
state.destroy_process_group()
"""


@pytest.fixture
def path(tmp_path):
    return tmp_path / "small.safetensors"


def weights(network):
    return torch.cat([p.detach().flatten() for p in network.parameters()])


def digest(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


# ---------------------------------------------------------------- batches and loss


def test_a_batch_depends_on_the_seed_and_the_step_and_on_nothing_else():
    options = {"batch": 4, "sigma_range": (0.1, 10.0)}
    first, again = (draw_batch(data(), 5, seed=1, **options) for _ in range(2))
    assert all(np.array_equal(a, b) for a, b in zip(first, again, strict=True))
    for other in (
        draw_batch(data(), 6, seed=1, **options),
        draw_batch(data(), 5, seed=2, **options),
    ):
        assert not any(np.array_equal(a, b) for a, b in zip(first, other, strict=True))


def test_noise_levels_are_log_uniform_and_stratified_and_noise_is_standard():
    images, sigma, noise = draw_batch(data(), 0, seed=0, batch=1000, sigma_range=(0.02, 20.0))
    level = np.log(sigma / 0.02) / np.log(1000)
    assert np.array_equal(np.sort((level * 1000).astype(int).clip(0, 999)), np.arange(1000))
    assert abs(np.corrcoef(level, np.arange(1000))[0, 1]) < 0.13  # 4 standard errors: in no order
    assert kstest(noise.ravel(), "norm").pvalue > 1e-3
    assert images.dtype == sigma.dtype == noise.dtype == np.float32
    assert {tuple(i.ravel()) for i in images} <= {tuple(i.ravel()) for i in data()}


def test_an_augmentation_sees_the_noise_levels_and_replaces_the_images():
    seen = []

    def black(images, sigma, rng):
        seen.append(sigma)
        return 0 * images

    images, sigma, _ = draw_batch(data(), 0, seed=0, batch=4, sigma_range=(0.1, 1.0), augment=black)
    assert not images.any()
    assert np.array_equal(seen[0], sigma)


def test_the_loss_of_the_best_linear_denoiser_is_its_error_in_units_of_what_white_data_leave():
    # Wiener on Gaussian data of variance 4 per pixel leaves 4 s^2 / (4 + s^2): the weighted loss is
    # 1 at every level. 2 * 16 * 4000 squares at either level: relative error 0.4 %.
    wiener = LinearDenoiser(Gaussian(np.zeros(16), np.full(16, 4.0), np.eye(16)))
    rng = np.random.default_rng(0)
    x, noise = (torch.from_numpy(rng.standard_normal((4000, 1, 4, 4))) for _ in range(2))
    for sigma in (0.3, 5.0):
        loss = weighted_loss(
            lambda y, s: wiener(y.flatten(1), float(s[0])).reshape(y.shape),
            2 * x,
            torch.full((4000,), sigma),
            noise,
            sigma_data=2.0,
        )
        assert abs(loss - 1) < 0.02


@pytest.mark.parametrize("shape", [(4, 4, 4), (4, 7), (4,)])
def test_the_loss_takes_what_has_any_number_of_axes(shape):
    clean, sigma = torch.zeros(shape), torch.tensor([0.5, 1.0, 2.0, 4.0])
    noise = clean.clone()
    noise[2] = 1  # an error of 2 in one of four samples: 1 + 4
    loss = weighted_loss(lambda y, s: y, clean, sigma, noise, sigma_data=1.0)
    assert float(loss) == pytest.approx(5 / 4)


# ---------------------------------------------------------------- the loop


def test_training_lowers_the_loss_on_new_noise(path):
    network = train(SMALL, data(), path, steps=150, seed=0, batch=16, rate=5e-3)
    drawn = draw_batch(data(seed=1), 0, seed=99, batch=200, sigma_range=(0.02, 20.0))
    clean, sigma, noise = map(torch.from_numpy, drawn)
    with torch.no_grad():
        after = weighted_loss(network, clean, sigma, noise, 1.0)
    untrained = weighted_loss(SMALL.network(), clean, sigma, noise, 1.0).detach()
    assert after < 0.6 * untrained


def test_the_same_seed_gives_the_same_network_whatever_the_global_state(path):
    torch.manual_seed(1)
    first = train(SMALL, data(), path, **SETTINGS)
    torch.manual_seed(2)
    state = torch.get_rng_state()
    second = train(SMALL, data(), path, **SETTINGS)  # a finished training starts again
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(weights(first), weights(second))
    third = train(SMALL, data(), path, **{**SETTINGS, "seed": 4})
    assert not torch.equal(weights(first), weights(third))


def test_the_result_is_ready_for_use_and_the_same_as_what_is_stored(path):
    network = train(
        SMALL,
        data(),
        path,
        **SETTINGS,
        sigma_range=(0.1, 5),
        description="waves",
        evaluate=lambda network: {"mean": round(float(weights(network).mean()), 3)},
    )
    stored, known = checkpoints.read_checkpoint(path)
    assert not network.training
    assert not any(p.requires_grad for p in network.parameters())
    assert torch.equal(weights(network), weights(stored))
    assert known["data"] == "waves"
    assert known["sigma_range"] == [0.1, 5.0]
    assert known["metrics"] == {"mean": round(float(weights(network).mean()), 3)}
    assert known["training"]["steps"] == 8
    assert [p.name for p in path.parent.iterdir()] == [path.name]


def test_the_stored_network_is_an_average_and_not_the_last_one(path):
    stop = interrupted_at(7)
    with pytest.raises(KeyboardInterrupt):
        train(SMALL, data(), path, **SETTINGS, augment=stop)
    tensors, _ = _read_tensors(f"{path}.partial")
    assert not torch.equal(tensors["network.head.weight"], tensors["average.head.weight"])


def test_nothing_is_printed_outside_a_terminal(path, capfd):
    train(SMALL, data(), path, **SETTINGS)
    assert capfd.readouterr() == ("", "")


def test_a_terminal_shows_how_far_the_training_is(path, monkeypatch):
    terminal = io.StringIO()
    terminal.isatty = lambda: True
    monkeypatch.setattr("sys.stderr", terminal)
    train(SMALL, data(), path, **SETTINGS)
    assert "small: 100%" in terminal.getvalue()
    assert "8/8" in terminal.getvalue()


@pytest.mark.parametrize("call", [2, 3, 4, 7])  # before, at and after the writings at 3 and 6
def test_an_interrupted_training_goes_on_to_the_same_network_to_the_bit(path, tmp_path, call):
    whole = train(
        SMALL, data(), tmp_path / "other.safetensors", **SETTINGS, augment=interrupted_at(99)
    )
    with pytest.raises(KeyboardInterrupt):
        train(SMALL, data(), path, **SETTINGS, augment=interrupted_at(call))
    assert not path.exists()
    # 8 steps less those kept: with fewer calls than that, it would be interrupted again
    left = 8 - 3 * (call // 3)
    resumed = train(SMALL, data(), path, **SETTINGS, augment=interrupted_at(left))
    assert torch.equal(weights(whole), weights(resumed))
    assert list(path.parent.glob("*.partial")) == []


def at_first_a_set(calls):
    """An evaluation that counts its calls and returns what JSON cannot hold at the first."""

    def evaluate(network):
        calls.append(weights(network))
        return {"x": {1, 2} if len(calls) == 1 else np.float32(2)}

    return evaluate


@pytest.mark.parametrize("save_every", [3, 250])
def test_an_evaluation_that_fails_costs_no_step(path, save_every):
    calls, settings = [], {**SETTINGS, "save_every": save_every}
    with pytest.raises(ValueError, match=r"metrics is \{.*; expected what JSON can hold"):
        train(
            SMALL,
            data(),
            path,
            **settings,
            evaluate=at_first_a_set(calls),
            augment=interrupted_at(8),
        )
    assert not path.exists()
    # interrupted at the first call: no step is left
    again = at_first_a_set(calls)
    network = train(SMALL, data(), path, **settings, evaluate=again, augment=interrupted_at(0))
    assert torch.equal(*calls)
    assert torch.equal(calls[0], weights(network))
    assert checkpoints.read_checkpoint(path).metadata["metrics"] == {"x": 2}
    assert [p.name for p in path.parent.iterdir()] == [path.name]


def test_two_processes_make_the_network_that_one_makes(path, tmp_path):
    script = tmp_path / "script.py"
    script.write_text(PROGRAM)
    folders = [Path(__file__).parent, Path(lindiff.__file__).parents[1]]
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2"]
    done = subprocess.run(
        [sys.executable, *launcher, script],
        cwd=tmp_path,
        env={
            **os.environ,
            "ACCELERATE_USE_CPU": "true",
            "OMP_NUM_THREADS": "1",
            "PYTHONPATH": os.pathsep.join(map(str, folders)),
        },
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    names = ("rank0", "rank1", "shared")
    first, second, shared = (
        weights(checkpoints.read_checkpoint(tmp_path / f"{name}.safetensors").network)
        for name in names
    )
    assert torch.equal(first, second)
    assert torch.equal(first, shared)
    alone, other = (
        weights(train(SMALL, data(), path, **{**SETTINGS, "seed": seed})) for seed in (3, 4)
    )
    # float32 sums in another order; Adam divides by small gradients, which enlarges that
    torch.testing.assert_close(first, alone, rtol=0, atol=1e-5)
    assert (alone - other).abs().max() > 1e-2


# ---------------------------------------------------------------- wrong input and damaged states


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"steps": 0}, "steps is 0"),
        ({"seed": -1}, "seed is -1"),
        ({"batch": 1.5}, "batch is 1.5"),
        ({"rate": 0}, "rate is 0"),
        ({"save_every": 0}, "save_every is 0"),
        ({"sigma_range": (0.0, 1.0)}, r"sigma_range\[0\] is 0"),
        ({"sigma_range": (2.0, 1.0)}, r"sigma_range\[1\] is 1.0; expected a finite number > 2"),
    ],
)
def test_settings_out_of_range_are_refused_before_anything_is_written(path, wrong, message):
    with pytest.raises(ValueError, match=message):
        train(SMALL, data(), path, **{**SETTINGS, **wrong})
    assert list(path.parent.iterdir()) == []


@pytest.mark.parametrize(
    ("x", "message"),
    [
        (np.zeros((3, 64)), r"x has shape \(3, 64\); expected 4 dimension"),
        (np.zeros((3, 2, 8, 8)), r"x has shape \(3, 2, 8, 8\); expected \(n >= 1, 1, h, w\)"),
        (np.zeros((0, 1, 8, 8)), r"x has shape \(0, 1, 8, 8\)"),
        (np.full((1, 1, 8, 8), np.nan), "x is nan at index"),
        (np.zeros((3, 1, 8, 6)), "divisible by 4"),
    ],
)
def test_images_of_a_wrong_form_are_refused(path, x, message):
    with pytest.raises(ValueError, match=message):
        train(SMALL, x, path, **SETTINGS)


def test_a_missing_folder_is_noticed_before_the_work_and_not_after_it(tmp_path):
    with pytest.raises(ValueError, match="expected a file in an existing folder"):
        train(SMALL, data(), tmp_path / "none" / "a.safetensors", **SETTINGS)


@pytest.mark.parametrize("name", ["a.safetensors", "a.safetensors.partial"])
def test_a_folder_in_the_way_is_noticed_before_the_work(tmp_path, name):
    (tmp_path / name).mkdir()
    with pytest.raises(ValueError, match=r"expected a file in an existing .* \(it is a folder\)"):
        train(SMALL, data(), tmp_path / "a.safetensors", **SETTINGS, augment=interrupted_at(0))


def test_a_folder_that_cannot_be_written_to_is_noticed_before_the_work(path, monkeypatch):
    def closed(*args, **kwargs):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("tempfile.TemporaryFile", closed)
    with pytest.raises(ValueError, match=r"that can be written to \(Permission denied\)"):
        train(SMALL, data(), path, **SETTINGS, augment=interrupted_at(0))


def test_a_description_that_json_cannot_hold_is_noticed_before_the_work(path):
    with pytest.raises(ValueError, match=r"description is .*; expected what JSON can hold"):
        train(SMALL, data(), path, **SETTINGS, description={1}, augment=interrupted_at(0))


@pytest.mark.parametrize(
    ("augment", "message"),
    [
        (
            lambda images, sigma, rng: None,
            r"the NoneType that augment returned has shape \(\); exp",
        ),
        (
            lambda images, sigma, rng: images[:, 0],
            r"has shape \(8, 8, 8\); expected \(8, 1, 8, 8\)",
        ),
        (lambda images, sigma, rng: images / 0 * 0, "that augment returned is nan at index"),
    ],
)
@pytest.mark.filterwarnings("ignore:(divide by zero|invalid value):RuntimeWarning")
def test_what_an_augmentation_returns_is_checked(path, augment, message):
    with pytest.raises(ValueError, match=message):
        train(SMALL, data(), path, **SETTINGS, augment=augment)


def test_a_training_that_diverges_stops_and_stores_nothing_of_it(path):
    train(SMALL, data(), path, **SETTINGS)
    before = digest(path)
    with pytest.raises(
        FloatingPointError, match=r"the loss at step [12] .* smaller rate than 1e\+30"
    ):
        train(SMALL, data(), path, **{**SETTINGS, "rate": 1e30})
    assert digest(path) == before
    assert [p.name for p in path.parent.iterdir()] == [path.name]


def test_weights_that_are_lost_at_the_last_step_are_not_stored(path, monkeypatch):
    def root(model, *_):  # its value is 0, its gradient is nan
        return (0 * next(model.parameters()).sum()).sqrt()

    monkeypatch.setattr("lindiff.deep.training.weighted_loss", root)
    with pytest.raises(
        FloatingPointError, match=r"the average of the weights at step 0 is not .*; start again"
    ):
        train(SMALL, data(), path, **{**SETTINGS, "steps": 1})
    assert list(path.parent.iterdir()) == []


def test_a_training_that_diverges_late_keeps_the_state_before(path):
    calls = iter(range(9))

    def growing(images, sigma, rng):
        return images * np.float32(1 if next(calls) < 4 else 1e30)  # its square is infinite

    with pytest.raises(
        FloatingPointError, match=r"loss at step 4 .* before is in .*partial: delete"
    ):
        train(SMALL, data(), path, **SETTINGS, augment=growing)
    assert json.loads(_read_tensors(f"{path}.partial")[1]["step"]) == 3
    assert not path.exists()


def test_a_batch_that_the_processes_cannot_share_is_refused():
    two = SimpleNamespace(num_processes=2, process_index=1)
    assert list(range(6))[_share(6, two)] == [1, 3, 5]
    with pytest.raises(ValueError, match="batch is 7; expected a multiple of the 2 processes"):
        _share(7, two)


def left_over(path):
    """The state of an interrupted training."""
    with pytest.raises(KeyboardInterrupt):
        train(SMALL, data(), path, **SETTINGS, augment=interrupted_at(4))
    return path.with_name(f"{path.name}.partial")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"seed": 4}, "was left by a training with another training"),
        ({"steps": 9}, "another training"),
        (
            {"sigma_range": (0.1, 1.0)},
            r"another sigma_range: \[0.02, 20.0\]; now it is \[0.1, 1.0\]",
        ),
        ({"config": Config(width=32, deep_width=16)}, "another config"),
        ({"x": data(seed=7)}, "another training"),
    ],
)
def test_a_state_of_other_settings_is_refused_and_left_alone(path, change, message):
    state = left_over(path)
    before = digest(state)
    arguments = {"config": SMALL, "x": data(), **SETTINGS, "augment": interrupted_at(99), **change}
    with pytest.raises(ValueError, match=message + r"[^!]*delete the file to start again"):
        train(arguments.pop("config"), arguments.pop("x"), path, **arguments)
    assert digest(state) == before


def shift(images, sigma, rng, by=0):
    return np.roll(images, by, axis=-1)


class Shift:
    def __call__(self, images, sigma, rng):
        return images


AUGMENTATIONS = {
    "a function": shift,
    "none": None,
    "a part": partial(shift, by=1),
    "another part": partial(shift, by=2),
    "a part by position": partial(partial(shift), 1),
    "an object": Shift(),
    "a lambda": lambda images, sigma, rng: images,
}


@pytest.mark.parametrize("name", AUGMENTATIONS)
def test_a_state_of_another_augmentation_is_refused(path, name):
    others = {**AUGMENTATIONS, "the one of before": interrupted_at(99)}
    names = {_name(augment) for augment in others.values()}
    assert len(names) == len(others)
    left_over(path)
    with pytest.raises(ValueError, match="another training"):
        train(SMALL, data(), path, **SETTINGS, augment=AUGMENTATIONS[name])


@pytest.mark.parametrize(
    "damage", ["truncated", "zeroed", "empty", "text", "flipped", "tail of zeros"]
)
def test_a_damaged_state_is_refused_and_left_alone(path, damage):
    state = left_over(path)
    content = state.read_bytes()
    state.write_bytes(
        {
            "truncated": content[: len(content) // 2],
            "zeroed": bytes(len(content)),
            "empty": b"",
            "text": b"not a checkpoint, but some text that is long enough",
            "flipped": content[:-900] + bytes([content[-900] ^ 1]) + content[-899:],
            "tail of zeros": content[:-4096] + bytes(4096),
        }[damage]
    )
    before = digest(state)
    with pytest.raises(ValueError, match=r"is damaged or no safetensors file .* delete it"):
        train(SMALL, data(), path, **SETTINGS, augment=interrupted_at(99))
    assert digest(state) == before


def without(state, tensor=None, key=None):
    """Write a state again without one of its parts."""
    tensors, known = _read_tensors(state)
    tensors.pop(tensor, None)
    known.pop(key, None)
    _write_tensors(state, tensors, {k: json.loads(v) for k, v in known.items()})


@pytest.mark.parametrize(
    "missing", ["network.head.weight", "average.tail.bias", "adam.0.exp_avg", "adam.1.step"]
)
def test_a_state_without_some_of_its_tensors_is_refused(path, missing):
    without(left_over(path), tensor=missing)
    with pytest.raises(ValueError, match=rf"is no complete state of a training \(see {missing}\)"):
        train(SMALL, data(), path, **SETTINGS, augment=interrupted_at(99))


def test_a_state_is_no_checkpoint_and_says_what_to_do(path):
    with pytest.raises(ValueError, match=r"unfinished training; .* call .*train again"):
        checkpoints.read_checkpoint(left_over(path))


def test_a_state_without_its_step_is_refused(path):
    without(left_over(path), key="step")
    with pytest.raises(ValueError, match=r"is no complete state .* delete it to start again"):
        train(SMALL, data(), path, **SETTINGS, augment=interrupted_at(99))


def trained_by_hand(x, k_stop):
    """Adam, its rate, clipping and the average of weights, in the words of the docstring."""
    torch.manual_seed(SETTINGS["seed"])
    network, average = UNet(SMALL), UNet(SMALL)
    average.load_state_dict(network.state_dict())
    adam = torch.optim.Adam(network.parameters(), betas=(0.9, 0.99))
    for k in range(k_stop):
        drawn = draw_batch(
            x, k, seed=SETTINGS["seed"], batch=SETTINGS["batch"], sigma_range=SIGMA_RANGE
        )
        clean, sigma, noise = map(torch.from_numpy, drawn)
        rising, falling = (k + 1) / 100, (1 + np.cos(np.pi * k / SETTINGS["steps"])) / 2
        adam.param_groups[0]["lr"] = 2.0 * rising * falling
        adam.zero_grad()
        weighted_loss(network, clean, sigma, noise, SMALL.sigma_data).backward()
        size = torch.cat([p.grad.flatten() for p in network.parameters()]).norm()
        for p in network.parameters():
            p.grad /= max(1.0, float(size))
        adam.step()
        with torch.no_grad():
            for mean, new in zip(average.parameters(), network.parameters(), strict=True):
                mean += (1 - (1 + k) / (10 + k)) * (new - mean)
    return network, average


def test_training_is_what_it_says_it_is(path):
    expected = trained_by_hand(data(), SETTINGS["steps"])[1]
    found = train(SMALL, data(), path, rate=2.0, **SETTINGS)
    before = weights(trained_by_hand(data(), 0)[1])
    moved = (weights(expected) - before).norm()
    assert (weights(found) - weights(expected)).norm() < 1e-3 * moved


def test_the_average_forgets_over_a_thousand_steps_when_the_training_is_long():
    average, network = torch.nn.Linear(1, 1, bias=False), torch.nn.Linear(1, 1, bias=False)
    with torch.no_grad():
        average.weight.fill_(0.0)
        network.weight.fill_(1.0)
    _update(average, network, 10**6)
    assert float(average.weight.detach()) == pytest.approx(0.001, rel=1e-4)


def test_whole_numbers_may_come_as_floats(tmp_path):
    weights = [
        train(SMALL, data(), tmp_path / f"{name}.safetensors", steps=steps, seed=seed, batch=batch)
        for name, steps, seed, batch in (("ints", 2, 0, 8), ("floats", 2.0, np.float64(0), 8.0))
    ]
    for one, other in zip(*(network.parameters() for network in weights), strict=True):
        assert torch.equal(one, other)
