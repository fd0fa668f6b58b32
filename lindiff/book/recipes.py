"""The trainings of the networks that come with the package, and their errors against Wiener's.

``python -m lindiff.book.recipes mnist photographs`` (or ``make train``) repeats them.
"""

import argparse
import contextlib
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from lindiff import _check, data
from lindiff.deep import checkpoints, training
from lindiff.deep.networks import Config, Rows, UNet
from lindiff.deep.training import Augment
from lindiff.denoisers import LinearDenoiser
from lindiff.types import Denoiser

SIGMAS = (0.02, 0.05, 0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 12.8, 20.0)


class Recipe(NamedTuple):
    """What a training needs, and roughly how many minutes it takes on one core.

    The images `x` (n, c, h, w) are for training, `held_out` (m, c, h, w) for testing.
    """

    config: Config
    x: np.ndarray
    held_out: np.ndarray
    steps: int
    minutes: int
    description: str
    augment: Augment | None = None


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


RECIPES = {"mnist": mnist, "photographs": photographs}


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
    seed: int = 0,
) -> list[list[float]]:
    """Mean squared error on held-out images, as a fraction of the Wiener denoiser's.

    Both see the same noise. The Wiener denoiser is fitted to `x`.

    Parameters
    ----------
    denoiser : callable
        ``denoiser(y, sigma)`` on tensors (n, c, h, w).
    x, held_out : ndarray, shape (n, c, h, w) and (m, c, h, w)
    sigmas : sequence of float
    seed : int
        Of the noise.

    Returns
    -------
    list of [float, float, float]
        For each noise level: the level, the fraction, and its standard error over the images.

    Examples
    --------
    >>> x = np.random.default_rng(0).standard_normal((50, 1, 4, 4))
    >>> untrained = training.UNet(Config(width=16, deep_width=16))  # Wiener's, of white data
    >>> relative_errors(untrained, x, x, [0.1])[0][1] < 1.05
    True
    """
    _check.same_shape("one of held_out", held_out.shape[1:], x.shape[1:])
    rows, clean = x.reshape(len(x), -1), held_out.reshape(len(held_out), -1).astype(float)
    reference, network = LinearDenoiser.fit(rows), Rows(denoiser, held_out.shape[1:])
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

    An interrupted command goes on where it was when it is repeated: what it had finished is at its
    place, and not trained again. A command that has come to its end trains from scratch.

    Parameters
    ----------
    arguments : list of str, optional
        Instead of the command line: names of recipes, and ``--folder`` for another folder than
        that of the package.
    """
    parser = argparse.ArgumentParser(prog="python -m lindiff.book.recipes", description=__doc__)
    parser.add_argument("names", nargs="+", choices=sorted(RECIPES))
    parser.add_argument("--folder", default=checkpoints.FOLDER, help="where to store checkpoints")
    options = parser.parse_args(arguments)
    chosen = {name: RECIPES[name]() for name in options.names}
    paths = {name: Path(options.folder) / f"{name}.safetensors" for name in chosen}
    for name, recipe in chosen.items():
        cost = f"{recipe.steps} steps, about {recipe.minutes} minutes on one core"
        if (finished := _finished(paths[name])).exists():
            cost = f"trained before the interruption; to train it again, delete {finished}"
        print(f"{name}: {cost}; interrupt at will and go on with the same command", flush=True)
    for name, recipe in chosen.items():
        network = _train(recipe, paths[name])
        print(f"{name}: {sum(p.numel() for p in network.parameters())} parameters, stored")
    for path in paths.values():
        _finished(path).unlink(missing_ok=True)


def _finished(path: Path) -> Path:
    """Where the last state of a training is kept until all of a command have come to their end."""
    return Path(f"{path}.finished.partial")


def _train(recipe: Recipe, path: Path) -> UNet:
    """Train one network, or bring back what an interrupted command had finished."""
    partial = Path(f"{path}.partial")
    with contextlib.suppress(FileNotFoundError):
        os.replace(_finished(path), partial)  # `train` sees whether it fits: no step is left to do

    def evaluate(network: UNet) -> dict[str, Any]:
        errors = relative_errors(network, recipe.x, recipe.held_out)
        os.replace(partial, _finished(path))
        return {"fraction_of_wiener": errors}

    return training.train(
        recipe.config,
        recipe.x,
        path,
        steps=recipe.steps,
        seed=0,
        augment=recipe.augment,
        description=recipe.description,
        evaluate=evaluate,
    )


if __name__ == "__main__":
    main()
