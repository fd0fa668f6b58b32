"""One seeded result of every kind that `lindiff` has, to be computed again elsewhere and compared.

python tests/seeded.py FILE.npz
"""

import sys

import numpy as np

from lindiff.chains import draw_chain
from lindiff.denoisers import LinearDenoiser
from lindiff.draws import draw_overlaps
from lindiff.finite_data import least_squares_denoiser
from lindiff.gaussian import Gaussian
from lindiff.laws import draw
from lindiff.mixtures import GaussianMixture
from lindiff.pca import noisy_pca
from lindiff.power import krylov
from lindiff.samplers import ancestral, ddim

SIGMAS = [2.0, 1.0, 0.5, 0.0]


def from_samples(x):
    """Everything that is drawn from clean samples, each with a generator of its own."""
    out = {}
    for noise in ("fresh", "cumulative", "frozen"):
        bases = noisy_pca(x, SIGMAS[:-1], 2, noise=noise, rng=np.random.default_rng(1))
        out[f"{noise} eigenvalues"], out[f"{noise} basis"] = bases
    for draws in (2, np.inf):
        out[f"least squares, {draws}"] = least_squares_denoiser(
            x, 0.7, draws, rng=np.random.default_rng(1)
        )
    law = Gaussian.fit(x)
    out["sample"] = law.sample(3, rng=np.random.default_rng(1))
    mixture = GaussianMixture([0.3, 0.7], [law, Gaussian.fit(3 * x)])
    out["mixture"] = mixture.sample(4, rng=np.random.default_rng(1))
    for step in (ddim, ancestral):
        out[f"draw {step.__name__}"] = draw(
            LinearDenoiser(law), SIGMAS, 3, step=step, times=(1, 3), rng=np.random.default_rng(1)
        )
    white = np.random.default_rng(1).standard_normal((3, x.shape[1]))
    out["colour"] = LinearDenoiser(law).colour(white, 0.7, np.sqrt)
    return out


def from_laws():
    """Everything that is drawn without data."""
    out = {}
    for dim, n in ((10**5, 2 * 10**5), (30, 50)):
        out[f"overlaps, d = {dim}"] = draw_overlaps(
            dim, n, [3.0, 1.5], 1.0, 4, rng=np.random.default_rng(1)
        )[1]
        out[f"chain, d = {dim}"] = draw_chain(
            dim, n, [3.0, 1.5], [1.0, 0.5], 4, rng=np.random.default_rng(1)
        ).matrix()
    matrix = np.random.default_rng(2).standard_normal((40, 30))
    pairs = krylov(matrix.T @ matrix, 3, tol=1e-12, rng=np.random.default_rng(1))
    out["krylov values"], out["krylov vectors"] = pairs.eigenvalues, pairs.eigenvectors
    return out


def from_networks():
    """A trained network in single precision, its Jacobian, and a short training."""
    import torch

    from lindiff.deep import checkpoints
    from lindiff.deep.jacobian import Jacobian

    network = checkpoints.load("mnist")
    y = torch.from_numpy(np.random.default_rng(1).standard_normal((1, 28, 28)).astype("f4"))
    with torch.no_grad():
        denoised = network(y[None], 1.0)[0]
    jacobian = Jacobian(network, y, 1.0)
    trace = jacobian.trace(8, rng=np.random.default_rng(1)).value
    values = jacobian.eigh(2, tol=1e-3, rng=np.random.default_rng(1)).eigenvalues
    return {
        "float32 denoised": denoised.numpy(),
        "float32 trace": np.array(trace),
        "float32 eigenvalues": values,
    }


def digits():
    """Images with pixels that are always black, and many modes of nearly equal weight."""
    from lindiff.data import digits as small

    return small()[0]


def main(target):
    """Store all results in one file."""
    few = {f"{name}, N < d": value for name, value in from_samples(digits()[:50]).items()}
    np.savez(target, **from_samples(digits()), **few, **from_laws(), **from_networks())


if __name__ == "__main__":
    main(sys.argv[1])
