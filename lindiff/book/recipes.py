"""The trainings of the networks that come with the package, and their errors against Wiener's.

``python -m lindiff.book.recipes mnist photographs`` (or ``make train``) repeats the two large ones,
``python -m lindiff.book.recipes family`` (or ``make train-family``) the many small ones.

The family is there to tell what the data do from what a network, a training or a seed does. It has
every combination of three kinds of data, two architectures, two laws and three seeds, and a third
architecture on one kind of data. One of the laws is that of the images. The other is its *Gaussian
twin*, with the same mean and covariance, of which as many images are drawn. The best denoiser of
the twin is known, Wiener's: what the twin gets wrong, training gets wrong, and only what a network
on images shows beyond its twin can be due to the images. Six more networks have fewer digits to
learn from, two disjoint sets of each number.
"""

import argparse
import contextlib
import itertools
import json
import os
from collections.abc import Sequence
from functools import cache, partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from lindiff import _check, _files, data
from lindiff.deep import checkpoints, training
from lindiff.deep.networks import Config, Rows
from lindiff.deep.patches import MixerConfig, Network, NetworkConfig, TransformerConfig
from lindiff.deep.training import Augment
from lindiff.denoisers import LinearDenoiser
from lindiff.gaussian import Gaussian
from lindiff.types import Denoiser

SIGMAS = (0.02, 0.05, 0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 12.8, 20.0)


class Recipe(NamedTuple):
    """What a training needs, and roughly how many minutes it takes on one core.

    The images `x` (n, c, h, w) are for training, `held_out` (m, c, h, w) for testing. If `law` is
    there, both were drawn from it.
    """

    config: NetworkConfig
    x: np.ndarray
    held_out: np.ndarray
    steps: int
    minutes: int
    description: str
    augment: Augment | None = None
    seed: int = 0
    batch: int = 64
    rate: float = 1.5e-3
    law: Gaussian | None = None


def mnist() -> Recipe:
    """Return the training on 4,500 of :func:`lindiff.data.mnist`; its last 500 are held out.

    Digits are shifted by up to two pixels where the noise level is below 1. Above it, a shift
    would blur what the network learns: the noise hides the position.

    Returns
    -------
    Recipe

    Examples
    --------
    >>> recipe = mnist()
    >>> recipe.x.shape, recipe.held_out.shape
    ((4500, 1, 28, 28), (500, 1, 28, 28))
    """
    x = data.mnist()[0].astype(np.float32).reshape(-1, 1, 28, 28)
    x, held_out = x[:-500], x[-500:]
    config = Config(
        mean=round(float(x.mean()), 4),
        sigma_data=round(float(x.std()), 4),
        deep_width=64,
        coordinates=2,
    )
    description = "lindiff.data.mnist() but its last 500 digits: grey values in [0, 1]"
    return Recipe(config, x, held_out, 7000, 25, description, shift_digits)


def photographs() -> Recipe:
    """Return the training on 10,000 patches of 32 × 32 pixels; 1,000 of other photographs test it.

    Returns
    -------
    Recipe

    Examples
    --------
    >>> recipe = photographs()
    >>> recipe.x.shape, recipe.held_out.shape
    ((10000, 1, 32, 32), (1000, 1, 32, 32))
    """
    x = data.patches(32, 10_000, rng=np.random.default_rng(0))
    held_out = data.patches(32, 1000, rng=np.random.default_rng(1), split="test")
    x, held_out = (a.astype(np.float32).reshape(-1, 1, 32, 32) for a in (x, held_out))
    description = "lindiff.data.patches(32, 10_000, default_rng(0)): standardised grey values"
    return Recipe(Config(deep_width=64), x, held_out, 5000, 20, description)


@cache
def family_images(data_set: str) -> tuple[np.ndarray, np.ndarray]:
    """Return the images that the networks of the family learn from, and others to test them.

    Digits are those of :func:`mnist`, photographs those of :func:`photographs`. The third kind are
    patches of 16 × 16 pixels of the colour photographs at half their resolution.

    Parameters
    ----------
    data_set : str
        "digits", "photographs" or "colour".

    Returns
    -------
    x : ndarray, shape (n, c, h, w)
    held_out : ndarray, shape (m, c, h, w)

    Examples
    --------
    >>> [images.shape for images in family_images("colour")]
    [(10000, 3, 16, 16), (1000, 3, 16, 16)]
    """
    if data_set in ("digits", "photographs"):
        recipe = {"digits": mnist, "photographs": photographs}[data_set]()
        return recipe.x, recipe.held_out
    if data_set != "colour":
        raise ValueError(f"data_set is {data_set!r}; expected one of {', '.join(DATA_SETS)}")
    x = data.colour_patches(16, 10_000, rng=np.random.default_rng(0))
    held_out = data.colour_patches(16, 1000, rng=np.random.default_rng(1), split="test")
    x, held_out = (a.astype(np.float32).reshape(-1, 3, 16, 16) for a in (x, held_out))
    return x, held_out


def member(data_set: str, network: str, law: str, seed: int) -> Recipe:
    """Return the training of one network of the family.

    Parameters
    ----------
    data_set : str
        As for :func:`family_images`.
    network : str
        "unet", "mixer" or "transformer".
    law : str
        "images", or "twin" for as many draws of the Gaussian law with their mean and covariance.
    seed : int

    Returns
    -------
    Recipe

    Examples
    --------
    >>> recipe = member("digits", "unet", "twin", 0)
    >>> recipe.x.shape, recipe.law.rank
    ((4500, 1, 28, 28), 784)
    """
    description = f"the images of lindiff.book.recipes.family_images({data_set!r})"
    if law == "twin":
        x, held_out, gaussian = _twin(data_set)
        description = f"as many draws of the Gaussian law with mean and covariance of {description}"
    else:
        (x, held_out), gaussian = family_images(data_set), None
    config, minutes = _config(network, x, data_set), MINUTES[network][DATA_SETS.index(data_set)]
    return Recipe(config, x, held_out, STEPS, minutes, description, None, seed, 32, 3e-3, gaussian)


@cache
def _twin(data_set: str) -> tuple[np.ndarray, np.ndarray, Gaussian]:
    """Draws for training, draws for testing, and the Gaussian law that they are drawn from."""
    x = family_images(data_set)[0]
    law = Gaussian.fit(x.reshape(len(x), -1))
    drawn = law.sample(len(x) + 1000, rng=np.random.default_rng(17))
    drawn = drawn.astype(np.float32).reshape(-1, *x.shape[1:])
    return drawn[: len(x)], drawn[len(x) :], law


def _config(network: str, x: np.ndarray, data_set: str) -> NetworkConfig:
    channels, size = x.shape[1], x.shape[2]
    scale: dict[str, Any] = {
        "mean": round(float(x.mean()), 4),
        "sigma_data": round(float(x.std()), 4),
    }
    if network in ("mixer", "transformer"):
        config = MixerConfig if network == "mixer" else TransformerConfig
        return config(channels=channels, size=size, patch=4 if channels == 1 else 2, **scale)
    return Config(
        channels=channels,
        width=32,
        deep_width=48,
        blocks=1,
        deep_blocks=2,
        coordinates=2 if data_set == "digits" else 0,
        **scale,
    )


def part_of_digits(n: int, half: int) -> Recipe:
    """Return the training of a small U-Net on few digits.

    Parameters
    ----------
    n : int
        Number of digits, at most 2,250.
    half : int
        0 for the first n digits, 1 for the first n of the second half.

    Returns
    -------
    Recipe

    Examples
    --------
    >>> part_of_digits(50, 1).x.shape
    (50, 1, 28, 28)
    """
    recipe = member("digits", "unet", "images", 0)
    half = _check.integer("half", half, 0, 1)
    start = half * (len(recipe.x) // 2)
    x = recipe.x[start : start + _check.integer("n", n, 1, len(recipe.x) // 2)]
    description = f"digits {start} to {start + n - 1} of {recipe.description}"
    return recipe._replace(x=x, description=description)


#: Names of the recipes.
DATA_SETS, LAWS = ("digits", "photographs", "colour"), ("images", "twin")
NETWORKS, SEEDS = ("unet", "mixer"), (0, 1, 2)
#: Who has learnt what; a third architecture has learnt photographs only.
LEARNT = (*itertools.product(DATA_SETS, NETWORKS), ("photographs", "transformer"))
SIZES, STEPS = (50, 500, 2250), 3000
#: Rough minutes that each takes on one core, in the order of the data sets.
MINUTES = {"unet": (1, 4, 2), "mixer": (2, 3, 3), "transformer": (3, 3, 3)}
FAMILY = {
    f"{data_set}-{network}-{law}-{seed}": partial(member, data_set, network, law, seed)
    for seed in SEEDS
    for data_set, network in LEARNT
    for law in LAWS
} | {f"digits-{n}-{half}": partial(part_of_digits, n, half) for n in SIZES for half in (0, 1)}
RECIPES = {"mnist": mnist, "photographs": photographs} | FAMILY
#: The file beside the checkpoints with the errors of all networks, also of those not shipped.
ERRORS = "errors.json"
#: Names of the networks that come with the package; of the others, the measurements do.
SHIPPED = (
    "mnist",
    "photographs",
    *(name for name in FAMILY if name.endswith("-0") and "transformer" not in name),
    *(f"digits-{n}-1" for n in SIZES),
)


def shift_digits(images: np.ndarray, sigma: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Shift images by up to two pixels each way, where `sigma` is below 1.

    Parameters
    ----------
    images : ndarray, shape (n, c, h, w)
    sigma : ndarray, shape (n,)
    rng : numpy.random.Generator

    Returns
    -------
    ndarray, shape (n, c, h, w)
        What leaves on one side comes back on the other: the margin of a digit is black.

    Examples
    --------
    >>> images = np.arange(16.0).reshape(1, 1, 4, 4)
    >>> moved = shift_digits(images, np.array([2.0]), np.random.default_rng(0))
    >>> bool((moved == images).all())
    True
    """
    moves = rng.integers(-2, 3, size=(len(images), 2)) * (sigma < 1)[:, None]
    return np.stack([np.roll(a, move, axis=(1, 2)) for a, move in zip(images, moves, strict=True)])


def relative_errors(
    denoiser: Denoiser,
    x: np.ndarray,
    held_out: np.ndarray,
    sigmas: Sequence[float] = SIGMAS,
    *,
    law: Gaussian | None = None,
    seed: int = 0,
) -> list[list[float]]:
    """Mean squared error on held-out images, as a fraction of the Wiener denoiser's.

    Both see the same noise. The Wiener denoiser is that of `law`, by default fitted to `x`.

    Parameters
    ----------
    denoiser : callable
        ``denoiser(y, sigma)`` on tensors (n, c, h, w).
    x, held_out : ndarray, shape (n, c, h, w) and (m, c, h, w)
    sigmas : sequence of float
    law : Gaussian, optional
    seed : int
        Of the noise.

    Returns
    -------
    list of [float, float, float]
        For each noise level: the level, the fraction, and its standard error over the images.

    Examples
    --------
    >>> x = np.random.default_rng(0).standard_normal((50, 1, 4, 4))
    >>> untrained = Config(width=16, deep_width=16).network()  # Wiener's, of white data
    >>> relative_errors(untrained, x, x, [0.1])[0][1] < 1.05
    True
    """
    _check.same_shape("one of held_out", held_out.shape[1:], x.shape[1:])
    rows, clean = x.reshape(len(x), -1), held_out.reshape(len(held_out), -1).astype(float)
    reference = LinearDenoiser(Gaussian.fit(rows) if law is None else law)
    network = Rows(denoiser, held_out.shape[1:])
    results = []
    for k, sigma in enumerate(sigmas):
        noise = np.random.default_rng([seed, k]).standard_normal(clean.shape)
        ours, theirs = (
            ((d(clean + sigma * noise, sigma) - clean) ** 2).sum(axis=1)
            for d in (network, reference)
        )
        fraction = ours.mean() / theirs.mean()
        spread = (ours - fraction * theirs).std(ddof=1)  # delta method, for a ratio of means
        error = spread / theirs.mean() / len(clean) ** 0.5
        results.append([float(sigma), round(float(fraction), 4), round(float(error), 4)])
    return results


def main(arguments: Sequence[str] | None = None) -> None:
    """Train the networks that the command line names and store them as checkpoints.

    Before the first training it prints what each takes, and all together. An interrupted command
    goes on where it was when it is repeated: what it had finished is at its place, and not trained
    again. A command that has come to its end trains from scratch.

    Parameters
    ----------
    arguments : list of str, optional
        Instead of the command line: names of recipes, and ``--folder`` for another folder than
        that of the package.
    """
    parser = argparse.ArgumentParser(prog="python -m lindiff.book.recipes", description=__doc__)
    parser.add_argument("names", nargs="+", choices=["family", *sorted(RECIPES)])
    parser.add_argument("--folder", default=checkpoints.FOLDER, help="where to store checkpoints")
    options = parser.parse_args(arguments)
    names = [n for name in options.names for n in (FAMILY if name == "family" else [name])]
    paths = {name: Path(options.folder) / f"{name}.safetensors" for name in names}
    left = []
    for name in names:
        recipe = RECIPES[name]()
        cost = f"{recipe.steps} steps, about {recipe.minutes} minutes on one core"
        if (finished := _finished(paths[name])).exists():
            cost = f"trained before the interruption; to train it again, delete {finished}"
        else:
            left.append(recipe.minutes)
        print(f"{name}: {cost}; interrupt at will and go on with the same command", flush=True)
    hours = f" ({sum(left) / 60:.1f} hours)" if sum(left) > 60 else ""
    print(f"in all: {len(left)} to train, about {sum(left)} minutes{hours} on one core", flush=True)
    for name in names:
        network = _train(RECIPES[name](), paths[name])
        _note_errors(paths[name].parent, name)
        print(f"{name}: {sum(p.numel() for p in network.parameters())} parameters, stored")
    for path in paths.values():
        _finished(path).unlink(missing_ok=True)


def _note_errors(folder: Path, name: str) -> None:
    """Add the errors of a network to the list of all of them, beside its checkpoint."""
    path = folder / ERRORS
    known = json.loads(path.read_text()) if path.exists() else {}
    metrics = checkpoints.read_checkpoint(folder / f"{name}.safetensors").metadata["metrics"]
    known[name] = metrics["fraction_of_wiener"]
    with _files.replacing(path) as temporary:
        rows = (f"  {json.dumps(key)}: {json.dumps(known[key])}" for key in sorted(known))
        temporary.write_text("{\n" + ",\n".join(rows) + "\n}\n")


def read_errors(name: str) -> np.ndarray:
    """Return what :func:`relative_errors` gave for a network after its training.

    Parameters
    ----------
    name : str
        One of ``RECIPES``, whether or not the network comes with the package.

    Returns
    -------
    ndarray, shape (11, 3)
        Noise level, error on held-out images as a fraction of the Wiener denoiser's, and its
        standard error over the images.

    Examples
    --------
    >>> sigma, fraction, _ = read_errors("mnist")[2]
    >>> bool(sigma == 0.1), bool(fraction < 0.3)
    (True, True)
    """
    known = json.loads((checkpoints.FOLDER / ERRORS).read_text())
    if name not in known:
        raise ValueError(f"name is {name!r}; expected one of {', '.join(known)}")
    return np.array(known[name])


def family_errors(data_set: str, network: str, law: str) -> np.ndarray:
    """Return the errors of one kind of network of the family, for all of its trainings.

    Parameters
    ----------
    data_set, network : str
        One of the pairs in ``LEARNT``.
    law : str
        One of ``LAWS``.

    Returns
    -------
    ndarray, shape (3, 11)
        The second column of :func:`read_errors`, for each of ``SEEDS`` and ``SIGMAS``.

    Examples
    --------
    >>> bool(family_errors("digits", "unet", "twin").min() > 0.98)  # Wiener's is the best there is
    True
    """
    names = [f"{data_set}-{network}-{law}-{seed}" for seed in SEEDS]
    return np.array([read_errors(name)[:, 1] for name in names])


def _finished(path: Path) -> Path:
    """Where the last state of a training is kept until all of a command have come to their end."""
    return Path(f"{path}.finished.partial")


def _train(recipe: Recipe, path: Path) -> Network:
    """Train one network, or bring back what an interrupted command had finished."""
    partial = Path(f"{path}.partial")
    with contextlib.suppress(FileNotFoundError):
        os.replace(_finished(path), partial)  # `train` sees whether it fits: no step is left to do

    def evaluate(network: Network) -> dict[str, Any]:
        errors = relative_errors(network, recipe.x, recipe.held_out, law=recipe.law)
        os.replace(partial, _finished(path))
        return {"fraction_of_wiener": errors}

    return training.train(
        recipe.config,
        recipe.x,
        path,
        steps=recipe.steps,
        seed=recipe.seed,
        batch=recipe.batch,
        rate=recipe.rate,
        half=True,
        augment=recipe.augment,
        description=recipe.description,
        evaluate=evaluate,
    )


if __name__ == "__main__":
    main()
