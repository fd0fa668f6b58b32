"""How much time the structure of the linear theory saves, against named peers on the same work.

`make bench` runs this file with one BLAS thread. Every peer runs before every round of ours, so
that both see the same machine; the table shows ratios of medians. A peer that would take minutes
does a stated part of its levels or steps, and its time is scaled. Each comparison first checks
that both compute the same thing. Nothing here can fail a test run: pytest does not collect this
file by itself.
"""

import time

import numpy as np
import pytest
import scipy.sparse.linalg
from sklearn.decomposition import PCA

from lindiff.data import mnist
from lindiff.denoisers import LinearDenoiser
from lindiff.draws import draw_alignment
from lindiff.gaussian import Gaussian
from lindiff.laws import draw, law
from lindiff.pca import noisy_pca
from lindiff.samplers import sample
from lindiff.schedules import karras

RANK = 20
LEVELS = np.geomspace(3.0, 0.1, 50)


@pytest.fixture
def rng():
    return np.random.default_rng(0)


@pytest.fixture(scope="module")
def digits():
    return mnist()[0]


def compare(benchmark, work, ours, peers, *, rounds=3):
    """Time `ours` and, interleaved, each peer ``(function, share of the work it does)``."""
    clocks = {name: [] for name in peers}

    def run_peers():
        for name, (peer, share) in peers.items():
            start = time.perf_counter()
            peer()
            clocks[name].append((time.perf_counter() - start) / share)

    benchmark.pedantic(ours, setup=run_peers, rounds=rounds, warmup_rounds=0)
    mine = benchmark.stats.stats.median
    benchmark.extra_info.update(
        work=work,
        peers=[
            {
                "name": name,
                "share": peers[name][1],
                "seconds": float(np.median(times)),
                "ratio": float(np.median(times) / mine),
            }
            for name, times in clocks.items()
        ],
    )


def direct_alignment(dim, n, spike, rng):
    """Leading eigenvalue of N noisy samples that are really drawn."""
    y = rng.standard_normal((n, dim))
    y[:, 0] *= np.sqrt(1 + spike)
    return scipy.sparse.linalg.eigsh(y.T @ y / n, k=1)


def test_one_spike(benchmark, rng):
    def ours():
        return [draw_alignment(784, 5000, 2.0, 1.0, 1, rng=rng) for _ in range(100)]

    exact = np.mean([draws.eigenvalues for draws in ours()])
    drawn = np.mean([direct_alignment(784, 5000, 2.0, rng)[0] for _ in range(3)])
    assert abs(exact / drawn - 1) < 0.05
    compare(
        benchmark,
        "100 draws of a leading eigenpair, d = 784, N = 5,000",
        ours,
        {"draw the data, SciPy eigsh": (lambda: direct_alignment(784, 5000, 2.0, rng), 0.01)},
        rounds=5,
    )


def test_growth_with_the_dimension(benchmark, rng):
    dims, seconds = np.array([10**3, 10**4, 10**5, 10**6]), []

    def once(dim):
        start = time.perf_counter()
        draw_alignment(dim, 2 * dim, 2.0, 1.0, 50, rng=rng)
        return time.perf_counter() - start

    for dim in dims:
        seconds.append(np.median([once(dim) for _ in range(5)]))
    exponent = np.polyfit(np.log(dims), np.log(seconds), 1)[0]
    benchmark.pedantic(once, args=(10**6,), rounds=3)
    benchmark.extra_info.update(
        work="50 draws of a leading eigenpair, d = 1,000,000, N = 2,000,000",
        note=f"time grows like d^{exponent:.2f} from d = 1,000 to 1,000,000",
    )


def frozen_levels(x, rng):
    noise = rng.standard_normal(x.shape)
    return lambda sigma: x + sigma * noise


def gram_eigsh(y):
    centred = y - y.mean(axis=0)
    return scipy.sparse.linalg.eigsh(centred.T @ centred / len(y), k=RANK)


def test_noisy_pca_with_shared_noise(benchmark, digits, rng):
    at = frozen_levels(digits, rng)
    some = LEVELS[::10]

    def svd():
        for sigma in some:
            y = at(sigma)
            np.linalg.svd(y - y.mean(axis=0), full_matrices=False)

    def sklearn():
        for sigma in some:
            PCA(RANK, svd_solver="covariance_eigh").fit(at(sigma))

    def gram():
        for sigma in some:
            gram_eigsh(at(sigma))

    mine = noisy_pca(digits, LEVELS[:2], RANK, noise="frozen", rng=rng).eigenvalues[0, 0]
    assert abs(mine / gram_eigsh(at(LEVELS[0]))[0][-1] - 1) < 0.05
    compare(
        benchmark,
        "top 20 of PCA at 50 noise levels, d = 784, N = 5,000, one noise draw for all levels",
        lambda: noisy_pca(digits, LEVELS, RANK, noise="frozen", rng=rng),
        {
            "NumPy svd": (svd, 0.1),
            "scikit-learn PCA covariance_eigh": (sklearn, 0.1),
            "Gram matrix, SciPy eigsh": (gram, 0.1),
        },
    )


def test_noisy_pca_with_fresh_noise(benchmark, digits, rng):
    many = Gaussian.fit(digits).sample(60_000, rng=rng)

    def direct():
        return gram_eigsh(many + rng.standard_normal(many.shape))

    mine = noisy_pca(many, [1.0, 0.5], RANK, noise="fresh", rng=rng).eigenvalues[0, 0]
    assert abs(mine / direct()[0][-1] - 1) < 0.05
    compare(
        benchmark,
        "top 20 of PCA at 50 noise levels, d = 784, N = 60,000, fresh noise at each level",
        lambda: noisy_pca(many, LEVELS, RANK, noise="fresh", rng=rng),
        {"draw the noise, Gram matrix, SciPy eigsh": (direct, 1 / len(LEVELS))},
        rounds=2,
    )


def test_exact_samples(benchmark, digits, rng):
    denoiser = LinearDenoiser.fit(digits)
    sigmas = karras(200, 0.02, 80.0)

    def steps():
        start = sigmas[0] * rng.standard_normal((10_000, 784))
        for _ in sample(denoiser, start, sigmas[:11]):
            pass

    x = draw(denoiser, sigmas, 10_000, rng=rng)[0]
    exact = law(denoiser, sigmas).variance[-1]
    coordinates = (x - denoiser.model.mean) @ denoiser.model.basis.T
    assert abs(coordinates[:, 0].var() / exact[0] - 1) < 0.1
    compare(
        benchmark,
        "10,000 samples of a linear sampler with 200 steps, d = 784",
        lambda: draw(denoiser, sigmas, 10_000, rng=rng),
        {"the same sampler step by step": (steps, 0.05)},
    )
