"""The networks that come along: their errors against Wiener's, and the command that makes them."""

import hashlib
import json
import re
import runpy
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from lindiff import data
from lindiff.book import recipes
from lindiff.deep import checkpoints
from lindiff.deep.networks import Config, Rows, precondition
from lindiff.denoisers import LinearDenoiser
from lindiff.gaussian import Gaussian
from lindiff.samplers import heun, sample
from lindiff.schedules import karras

# Largest error that the book relies on, as a fraction of the Wiener denoiser's.
MNIST = {0.05: 0.35, 0.1: 0.35, 0.2: 0.35, 0.4: 0.45, 0.8: 0.60, 1.6: 0.88}
# Wiener is nearly the best there. The network is on a par with it, up to half a per cent.
MNIST |= dict.fromkeys([3.2, 6.4, 12.8, 20.0], 1.005)
PHOTOGRAPHS = {0.05: 0.60, 0.1: 0.60, 0.2: 0.65, 0.4: 0.70, 0.8: 0.75, 1.6: 0.80, 3.2: 0.90}


@pytest.fixture(scope="module")
def made():
    """The recipes, made once."""
    return {name: recipes.RECIPES[name]() for name in recipes.SHIPPED}


@pytest.mark.parametrize(
    ("name", "bounds"), [("mnist", MNIST), ("photographs", PHOTOGRAPHS)], ids=["mnist", "photos"]
)
def test_the_error_on_held_out_images_is_below_wieners_by_as_much_as_promised(made, name, bounds):
    recipe = made[name]
    # 250 images: standard errors of about 1 % of Wiener's error, the margins are wider
    results = recipes.relative_errors(
        checkpoints.load(name), recipe.x, recipe.held_out[:250], list(bounds), seed=12
    )
    for (sigma, fraction, _), bound in zip(results, bounds.values(), strict=True):
        assert fraction <= bound, (sigma, fraction)


@pytest.mark.parametrize("name", recipes.SHIPPED)
def test_a_checkpoint_is_that_of_its_recipe(made, name):
    recipe, (network, known) = (
        made[name],
        checkpoints.read_checkpoint(checkpoints.FOLDER / f"{name}.safetensors"),
    )
    assert network.config == recipe.config
    assert known["data"] == recipe.description
    settings = dict(known["training"])
    digest = settings.pop("data_sha256")
    # draws of a twin are rounded in another way on other processors
    if recipe.law is None:
        assert digest == hashlib.sha256(recipe.x.tobytes()).hexdigest()
    assert settings == {
        "steps": recipe.steps,
        "seed": recipe.seed,
        "batch": recipe.batch,
        "rate": recipe.rate,
        "augment": getattr(recipe.augment, "__name__", None),
    }
    assert [row[0] for row in known["metrics"]["fraction_of_wiener"]] == list(recipes.SIGMAS)


def test_no_held_out_digit_is_among_those_of_training(made):
    recipe = made["mnist"]
    assert {i.tobytes() for i in recipe.x}.isdisjoint({i.tobytes() for i in recipe.held_out})


def test_the_stated_errors_are_those_measured(made):
    recipe = made["mnist"]
    stated = checkpoints.read_checkpoint("mnist").metadata["metrics"]["fraction_of_wiener"][:1]
    (again,) = recipes.relative_errors(
        checkpoints.load("mnist"), recipe.x, recipe.held_out, recipes.SIGMAS[:1]
    )
    # other machines sum float32 in another order
    np.testing.assert_allclose(stated[0], again, atol=2e-3)


# ---------------------------------------------------------------- the family


@pytest.mark.parametrize("data_set", recipes.DATA_SETS)
def test_a_twin_has_the_mean_and_covariance_of_the_images_and_nothing_else(made, data_set):
    images, twin = (made[f"{data_set}-unet-{law}-0"] for law in recipes.LAWS)
    assert twin.x.shape == images.x.shape
    rows = images.x.reshape(len(images.x), -1).astype(float)
    drawn = twin.x.reshape(rows.shape).astype(float)
    assert np.abs(twin.law.mean - rows.mean(axis=0)).max() < 1e-6
    # along the leading components the draws have the variances of the law, and no kurtosis
    scores = (drawn - twin.law.mean) @ twin.law.basis[:20].T / np.sqrt(twin.law.eigenvalues[:20])
    n = len(scores)
    assert np.abs((scores**2).mean(axis=0) - 1).max() < 4.5 * np.sqrt(2 / n)
    true = (rows - twin.law.mean) @ twin.law.basis[:20].T / np.sqrt(twin.law.eigenvalues[:20])
    found = [(((z**4).mean(axis=0) - 3) ** 2).sum() / (96 / n) for z in (scores, true)]
    assert found[0] < 20 + 4.5 * np.sqrt(40)  # chi-square with 20 degrees of freedom
    assert found[1] > 75


def test_halves_of_the_digits_have_no_digit_in_common(made):
    one, two = (made[f"digits-2250-{half}"].x for half in (0, 1))
    assert {i.tobytes() for i in one}.isdisjoint({i.tobytes() for i in two})
    for n in (50, 500):
        for half, x in enumerate((one, two)):
            np.testing.assert_array_equal(made[f"digits-{n}-{half}"].x, x[:n])


@pytest.mark.parametrize("name", [n for n in recipes.SHIPPED if n in recipes.FAMILY])
def test_an_error_stated_for_the_family_is_measured_again(made, name):
    recipe = made[name]
    stated = checkpoints.read_checkpoint(name).metadata["metrics"]["fraction_of_wiener"]
    level = recipes.SIGMAS.index(0.4)
    (again,) = recipes.relative_errors(
        checkpoints.load(name), recipe.x, recipe.held_out[:200], [0.4], law=recipe.law, seed=5
    )
    # other noise, and a part of the images: five standard errors
    assert abs(again[1] - stated[level][1]) < 5 * np.hypot(again[2], stated[level][2])


def test_errors_are_known_of_every_network_that_comes_along(made):
    for name in recipes.SHIPPED:
        known = checkpoints.read_checkpoint(name).metadata["metrics"]["fraction_of_wiener"]
        np.testing.assert_array_equal(recipes.read_errors(name), known)
    with pytest.raises(ValueError, match="name is 'cats'; expected one of colour-"):
        recipes.read_errors("cats")


def test_what_is_no_kind_of_images_is_refused():
    with pytest.raises(ValueError, match="data_set is 'cats'; expected one of digits, photographs"):
        recipes.family_images("cats")


# ---------------------------------------------------------------- relative errors


def test_the_wiener_denoiser_is_as_good_as_itself_and_a_scaled_one_has_the_error_of_its_scale(rng):
    x, held_out = rng.standard_normal((2, 300, 1, 4, 4))
    wiener = LinearDenoiser.fit(x.reshape(300, 16))

    def tensors(y, sigma):
        return torch.from_numpy(wiener(y.double().flatten(1).numpy(), sigma)).reshape(y.shape)

    for sigma, fraction, error in recipes.relative_errors(tensors, x, held_out, [0.3, 2.0]):
        assert sigma in (0.3, 2.0)
        assert fraction == 1  # the same noise
        assert error < 1e-4
    # Data of variance 1: zero has error 1 and Wiener s^2 / (1 + s^2). 300 * 16 values.
    (result,) = recipes.relative_errors(lambda y, sigma: 0 * y, x, held_out, [0.5])
    assert abs(result[1] - 5) < 0.35


def test_the_standard_error_is_the_spread_over_repetitions():
    rng = np.random.default_rng(1)
    x = rng.standard_normal((500, 1, 4, 4))
    denoiser = precondition(lambda z, level: 0.2 * z)
    repeated = np.array(
        [
            recipes.relative_errors(denoiser, x, rng.standard_normal((50, 1, 4, 4)), [0.7], seed=k)[
                0
            ]
            for k in range(60)
        ]
    )
    # the spread of 60 repetitions has relative error 1 / sqrt(120) = 9 %
    assert abs(repeated[:, 1].std() / repeated[:, 2].mean() - 1) < 0.35


def test_images_of_different_shapes_are_refused():
    with pytest.raises(ValueError, match=r"one of held_out has shape \(1, 8, 8\)"):
        recipes.relative_errors(None, np.zeros((2, 1, 4, 4)), np.zeros((2, 1, 8, 8)))


# ---------------------------------------------------------------- shifts


def test_digits_move_by_at_most_two_pixels_and_only_at_low_noise():
    images = np.zeros((4000, 1, 9, 9), dtype=np.float32)
    images[:, 0, 4, 4] = 1
    sigma = np.where(np.arange(4000) % 2, 0.5, 1.5)
    moved = recipes.shift_digits(images, sigma, np.random.default_rng(0))
    places = np.argwhere(moved[:, 0])
    assert (moved.sum(axis=(1, 2, 3)) == 1).all()
    assert (places[sigma > 1, 1:] == 4).all()
    shifts, counts = np.unique(places[sigma < 1, 1:] - 4, axis=0, return_counts=True)
    assert {tuple(s) for s in shifts} == {(a, b) for a in range(-2, 3) for b in range(-2, 3)}
    assert abs(counts - 80).max() < 4 * 80**0.5  # 2000 / 25, Poisson


# ---------------------------------------------------------------- the command


@pytest.fixture
def tiny(monkeypatch):
    """Recipes that take no time."""
    rng = np.random.default_rng(0)
    config = Config(width=16, deep_width=16, blocks=1, deep_blocks=1)
    x, held_out = rng.standard_normal((2, 20, 1, 8, 8)).astype(np.float32)
    recipe = recipes.Recipe(config, x, held_out, 3, 1, "noise", recipes.shift_digits)
    monkeypatch.setattr(
        recipes,
        "RECIPES",
        {"one": lambda: recipe, "two": lambda: recipe._replace(config=replace(config, blocks=2))},
    )


def test_the_command_says_how_long_it_takes_and_writes_the_checkpoints(tiny, tmp_path, capsys):
    recipes.main(["two", "one", "--folder", str(tmp_path)])
    printed = capsys.readouterr().out
    assert printed.startswith("two: 3 steps, about 1 minutes on one core; interrupt at will")
    assert printed.index("one: 3 steps") < printed.index("two: 3") + 200
    total = printed.index("in all: 2 to train, about 2 minutes on one core\n")
    assert total < printed.index(" parameters, stored")
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "errors.json",
        "one.safetensors",
        "two.safetensors",
    ]
    network, known = checkpoints.read_checkpoint(tmp_path / "two.safetensors")
    assert network.config.blocks == 2
    assert known["data"] == "noise"
    assert len(known["metrics"]["fraction_of_wiener"]) == len(recipes.SIGMAS)
    errors = json.loads((tmp_path / "errors.json").read_text())
    assert errors["two"] == known["metrics"]["fraction_of_wiener"]
    assert list(errors) == ["one", "two"]


def counting(monkeypatch, stop):
    """Collect the numbers of the steps of all trainings; interrupt the `stop`-th of them, once."""
    steps, draw = [], recipes.training.draw_batch

    def counted(x, k, **options):
        steps.append(k)
        if len(steps) == stop:
            raise KeyboardInterrupt
        return draw(x, k, **options)

    monkeypatch.setattr(recipes.training, "draw_batch", counted)
    return steps


def test_a_command_interrupted_in_the_second_training_does_not_repeat_the_first(
    tiny, tmp_path, monkeypatch, capsys
):
    steps, command = counting(monkeypatch, stop=5), ["one", "two", "--folder", str(tmp_path)]
    with pytest.raises(KeyboardInterrupt):
        recipes.main(command)
    first = checkpoints.read_checkpoint(tmp_path / "one.safetensors")
    assert "one: 3 steps" in capsys.readouterr().out
    recipes.main(command)
    assert steps == [0, 1, 2, 0, 1, 0, 1, 2]
    printed = capsys.readouterr().out
    assert printed.startswith("one: trained before the interruption; to train it again, delete ")
    assert "two: 3 steps" in printed
    assert "in all: 1 to train, about 1 minutes on one core" in printed
    again = checkpoints.read_checkpoint(tmp_path / "one.safetensors")
    assert torch.equal(first.network.head.weight, again.network.head.weight)
    assert first.metadata == again.metadata
    assert sorted(p.name for p in tmp_path.iterdir()) == [
        "errors.json",
        "one.safetensors",
        "two.safetensors",
    ]


def test_the_time_of_the_whole_family_is_that_which_the_pages_state(monkeypatch, capsys):
    monkeypatch.setattr(recipes, "_train", lambda *_: pytest.fail("the time is said first"))
    with pytest.raises(pytest.fail.Exception):
        recipes.main(["family"])
    found = re.search(
        r"in all: 48 to train, about \d+ minutes \((.*) hours\)", capsys.readouterr().out
    )
    assert round(float(found[1])) == 2
    root = Path(__file__).parents[1]
    assert "(about 2 hours on one core)" in (root / "Makefile").read_text(encoding="utf-8")
    page = (root / "book" / "data-sets.md").read_text(encoding="utf-8")
    assert "about 2 hours for the whole family" in page


def test_a_command_that_has_come_to_its_end_trains_from_scratch(tiny, tmp_path, monkeypatch):
    steps, command = counting(monkeypatch, stop=None), ["one", "--folder", str(tmp_path)]
    recipes.main(command)
    recipes.main(command)
    assert steps == [0, 1, 2, 0, 1, 2]


def test_what_was_finished_of_another_recipe_is_refused(tiny, tmp_path, monkeypatch):
    counting(monkeypatch, stop=5)
    with pytest.raises(KeyboardInterrupt):
        recipes.main(["one", "two", "--folder", str(tmp_path)])
    other = recipes.RECIPES["one"]()._replace(steps=4)
    monkeypatch.setitem(recipes.RECIPES, "one", lambda: other)
    with pytest.raises(ValueError, match="was left by a training with another training"):
        recipes.main(["one", "two", "--folder", str(tmp_path)])


@pytest.mark.parametrize("arguments", [[], ["cifar"]])
def test_the_command_refuses_what_it_does_not_know(tiny, arguments, capsys):
    with pytest.raises(SystemExit):
        recipes.main(arguments)
    assert "usage" in capsys.readouterr().err


def test_the_module_is_the_command(monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["recipes", "--help"])
    with pytest.raises(SystemExit, match="0"):
        runpy.run_path(recipes.__file__, run_name="__main__")
    assert "photographs" in capsys.readouterr().out


def test_the_network_of_digits_makes_digits_by_the_sampler_of_the_book(made):
    x = made["mnist"].x.reshape(-1, 784).astype(float)
    start = 20 * np.random.default_rng(0).standard_normal((32, 784))
    denoiser = Rows(checkpoints.load("mnist"), (1, 28, 28))
    *_, last = sample(denoiser, start, karras(12, 0.02, 20.0), step=heun)
    linear = Gaussian.fit(x).sample(32, rng=np.random.default_rng(1))

    def nearest(y):
        return np.sqrt([((x - one) ** 2).sum(axis=1).min() for one in y])

    # held-out digits: 4.9; the Gaussian of the same moments, the best linear model: 7.2
    assert nearest(last.x).mean() < 6.3 < nearest(linear).mean()
    assert nearest(last.x).min() > 1  # no copies: half the smallest distance of a held-out digit


def test_photographs_are_tested_on_patches_of_other_photographs():
    held_out = recipes.photographs().held_out.reshape(1000, -1)
    fresh = data.patches(32, 1000, rng=np.random.default_rng(1), split="test")
    np.testing.assert_array_equal(held_out, fresh.astype(np.float32))
    training = data.patches(32, 1000, rng=np.random.default_rng(1))
    assert np.abs(fresh - training).max() > 0.1


def test_digits_do_not_move_at_level_1():
    images = np.random.default_rng(0).random((8, 1, 6, 6))
    still = recipes.shift_digits(images, np.ones(8), np.random.default_rng(0))
    np.testing.assert_array_equal(still, images)


def test_the_standard_error_counts_what_the_ratio_has_used_up():
    x = np.random.default_rng(0).standard_normal((40, 1, 2, 2))
    few = x[:2]
    result = recipes.relative_errors(lambda y, sigma: 0 * y, x, few, [1.0])[0]
    rows = few.reshape(2, 4) + np.random.default_rng([0, 0]).standard_normal((2, 4))
    wiener = LinearDenoiser.fit(x.reshape(40, 4))
    theirs = ((wiener(rows, 1.0) - few.reshape(2, 4)) ** 2).sum(axis=1)
    ours = (few.reshape(2, 4) ** 2).sum(axis=1)
    rest = ours - ours.mean() / theirs.mean() * theirs
    # of two values, the spread with one degree of freedom is half their distance times sqrt(2)
    expected = abs(rest[0] - rest[1]) / 2**0.5 / theirs.mean() / 2**0.5
    assert result[2] == pytest.approx(expected, abs=1e-4)
