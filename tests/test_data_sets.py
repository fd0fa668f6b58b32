"""The page on data sets and checkpoints: its numbers are those of the package."""

import fnmatch
import inspect
import json
import re
from functools import cache
from pathlib import Path

import notebook_form
import numpy as np
import pytest
import skimage.data
import sklearn.datasets

from lindiff import Gaussian, data
from lindiff.book import recipes
from lindiff.deep import checkpoints

PAGE = (notebook_form.ROOT / "book" / "data-sets.md").read_text(encoding="utf-8")
TABLE = re.compile(r"(?:^\|.+\|\n)+", re.M)
PYTHON = re.compile(r"```python\n(.*?)```", re.S)


def cells(line):
    return [cell.strip().strip("`") for cell in line.strip("|").split("|")]


def table(*header):
    """Return the rows of the page's tables with this header, its numbers without commas."""
    rows = []
    for found in TABLE.findall(PAGE):
        first, _, *others = found.splitlines()
        if cells(first) == list(header):
            rows += [cells(re.sub(r"(?<=\d),(?=\d{3})", "", line)) for line in others]
    assert rows, f"no table with the header {header}"
    return rows


@cache
def code_of_chapters():
    """Return the code of each chapter by its number, that of its solutions included."""
    found = {}
    for path in sorted((notebook_form.ROOT / "notebooks").glob("*.ipynb")):
        code = []
        for cell in json.loads(path.read_text(encoding="utf-8"))["cells"]:
            source = "".join(cell["source"])
            code += [source] if cell["cell_type"] == "code" else PYTHON.findall(source)
        found[int(path.name[:2])] = "\n".join(code)
    return found


def chapters_that_call(name):
    """Return the chapters that call a function of lindiff.data, not the recipe of its name."""
    call = re.compile(rf"(?<!recipes\.)\b{name}\(")
    return [chapter for chapter, code in code_of_chapters().items() if call.search(code)]


def spelt(numbers):
    """Write numbers as the page does: '1–3, 5, 6'."""
    runs = []
    for one in numbers:
        if runs and one == runs[-1][-1] + 1:
            runs[-1].append(one)
        else:
            runs.append([one])
    parts = [[f"{run[0]}–{run[-1]}"] if len(run) > 2 else map(str, run) for run in runs]
    return ", ".join(text for part in parts for text in part)


# ---------------------------------------------------------------- data sets


def test_the_lines_that_load_run():
    for block in PYTHON.findall(PAGE):
        exec(block, {})


CALLS = {
    "mnist": lambda: data.mnist()[0],
    "digits": lambda: data.digits()[0],
    "patches": lambda: data.patches(32, 3, rng=0),
    "colour_patches": lambda: data.colour_patches(16, 3, rng=0),
    "greys": lambda: data.greys(),
    "power_law": lambda: data.power_law(9, 2.0),
}


@pytest.mark.parametrize(("name", "shape", "chapters"), table("function", "shape", "chapters"))
def test_shape_and_chapters_of_a_data_set(name, shape, chapters):
    result = CALLS[name]()
    if name == "power_law":
        assert isinstance(result, Gaussian) and shape == "a law"
    elif name == "greys":
        assert shape == f"{len(result)} images"
    else:
        rows = "n" if len(result) == 3 else len(result)
        assert shape == f"{rows} × {result.shape[1]}"
    assert chapters == spelt(chapters_that_call(name))


def test_no_data_set_is_left_out():
    assert {row[0] for row in table("function", "shape", "chapters")} == set(CALLS)
    other = ("photographs", "colour_photographs", "colours")  # credits, and pictures in full
    assert {
        name
        for name, one in vars(data).items()
        if inspect.isfunction(one) and one.__module__ == data.__name__ and name[0] != "_"
    } == {*CALLS, *other}
    assert not any(chapters_that_call(name) for name in other[1:])


def says(*texts):
    """Whether the page has these texts in this order, on one line."""
    return re.search(".*".join(map(re.escape, texts)), PAGE)


def test_the_numbers_about_mnist():
    x, label = data.mnist()
    assert set(np.bincount(label)) == {500} and says("500 of each class")
    assert says(f"mean {x.mean():.3f} and the standard deviation {x.std():.3f}")
    np.testing.assert_array_equal(x * 255, np.round(x * 255))
    held_out = np.bincount(label[-500:])
    assert says(f"between {held_out.min()} and {held_out.max()} of each")
    assert says(f"{(x.max(axis=0) == 0).sum()} pixels are 0 in every digit")
    eigenvalues = np.linalg.eigvalsh(np.cov(x.T))
    rank = (eigenvalues > 1e-10 * eigenvalues[-1]).sum()  # the others: below 1e-15 of it
    assert says(f"its rank is {rank}, although `Gaussian.fit` keeps all {Gaussian.fit(x).rank}")


def test_the_numbers_about_small_digits():
    x, label = data.digits()
    classes = np.bincount(label)
    assert says(f"with {len(np.unique(x))} grey values from 0 to 1")
    assert (x.min(), x.max()) == (0, 1)
    assert says(f"Between {classes.min()} and {classes.max()} digits of each class")
    assert says(f"{(x.max(axis=0) == 0).sum()} pixels are 0 in every digit. A pixel counts")
    told = sklearn.datasets.load_digits().DESCR
    assert "test set of the UCI" in told and "13\nto the test set" in told
    assert "licen" not in told.lower()


def test_the_pictures_their_sizes_parts_and_licences():
    grey = zip(data.photographs(), data.greys(), strict=True)
    colour = zip(data.colour_photographs(), data.colours(), strict=True)
    expected = [
        [one.name, f"{image.shape[0]} × {image.shape[1]}", one.split, one.licence]
        for one, image in (*grey, *colour)
    ]
    assert table("picture", "h × w", "part", "licence") == expected


def test_the_licences_are_what_the_packages_say():
    for one in data.photographs():
        told = getattr(skimage.data, one.name).__doc__
        assert {"CC0": "CC0 by the photographer", "public domain": "public domain"}[
            one.licence
        ] in told
    folder = Path(sklearn.datasets.__file__).parent / "images"
    told = (folder / "README.txt").read_text()
    assert told.count("licenses/by/2.0/") == 2 and told.count("reserved by danielbuechele") == 2
    assert "vultilion" in told


def test_the_units_of_the_photographs():
    mean, std = data._contrast()
    assert says(f"{mean:.3f} and {std:.3f} of the range from black to white")
    grey, colour = (recipes.family_images(name)[1] for name in ("photographs", "colour"))
    # different draws of patches move these means by less than 0.03
    assert grey.mean() == pytest.approx(1 / 2, abs=0.1) and says(
        "half a standard deviation brighter"
    )
    assert colour.mean() == pytest.approx(-1 / 3, abs=0.1) and says(
        "a third of a standard deviation"
    )
    assert says(f"have {colour.std():.1f} of the contrast")
    rocket = data.greys()[2]
    assert rocket.std() == pytest.approx(0.5, abs=0.05) and says("the rocket has half")


# ---------------------------------------------------------------- checkpoints


def test_weights_and_file_sizes_of_all_checkpoints():
    rows = table("checkpoints", "weights", "kB")
    for name in recipes.SHIPPED:
        mine = [row for row in rows if fnmatch.fnmatch(name, row[0])]
        assert len(mine) == 1, name
        parameters = checkpoints.load(name).parameters()
        assert sum(one.numel() for one in parameters) == int(mine[0][1]), name
        size = (checkpoints.FOLDER / f"{name}.safetensors").stat().st_size
        assert round(size / 1000) == int(mine[0][2]), name
    assert len(recipes.SHIPPED) == 20 and says("Twenty trained denoisers")
    assert sum(one.stat().st_size for one in checkpoints.FOLDER.glob("*.safetensors")) < 10e6


def test_the_errors_of_all_checkpoints():
    rows = {row[0]: row[1:] for row in table("checkpoint", "0.1", "0.8", "6.4")}
    assert sorted(rows) == sorted(recipes.SHIPPED)
    at = [recipes.SIGMAS.index(sigma) for sigma in (0.1, 0.8, 6.4)]
    for name, fractions in rows.items():
        assert fractions == [f"{one:.2f}" for one in recipes.read_errors(name)[at, 1]], name
    assert says(f"not shipped: {len(recipes.RECIPES)} in all")
    colour = [
        rows[f"colour-{network}-{law}-0"][1] for network in recipes.NETWORKS for law in recipes.LAWS
    ]
    assert min(map(float, colour)) > 1 and says("At $\\sigma=0.8$", "a larger error than Wiener")


def test_the_recipes():
    lines = table("setting", "mnist", "photos", "family")
    rows = {setting: numbers for setting, *numbers in lines}
    known = {name: recipes.RECIPES[name]() for name in ("mnist", "photographs")}
    known["family"] = recipes.member("colour", "mixer", "images", 0)
    assert list(rows) == ["steps", "batch", "rate", "minutes"]
    each = {recipes.RECIPES[name]().minutes for name in recipes.FAMILY}
    assert rows["minutes"].pop() == f"{min(each)} to {max(each)}"
    for setting, numbers in rows.items():
        stated = [getattr(one, setting) for one in known.values()][: len(numbers)]
        assert [float(one) for one in numbers] == stated, setting
    augmented = [name for name, one in known.items() if one.augment]
    assert augmented == ["mnist"] and says("`mnist` alone sees shifted digits")


def test_the_images_for_training_and_those_held_out():
    twin = recipes.member("digits", "unet", "twin", 0)
    known = {name: recipes.family_images(name) for name in recipes.DATA_SETS}
    known["twin of digits"] = twin.x, twin.held_out
    expected = [[name, *(str(len(part)) for part in parts)] for name, parts in known.items()]
    assert table("images", "training", "held out") == expected


def test_levels_digests_and_precision_are_those_of_the_files():
    assert says("between 0.02 and 20")
    for name in recipes.SHIPPED:
        known = checkpoints.read_checkpoint(name).metadata
        assert known["sigma_range"] == [0.02, 20.0]
        assert len(known["training"]["data_sha256"]) == 64
