"""The exact simulations have the law of the direct computation."""

import math

import dask.distributed
import joblib
import numpy as np
import pytest
from scipy.stats import ks_2samp

from lindiff import Gaussian, simulate
from lindiff.simulate import (
    noisy_pca,
    sample_alignment,
    sample_noisy_covariance,
    sweep,
    symmetric_root,
    wishart,
)

RUNS = 400
# Two hundred comparisons at this level fail once in a thousand suites if the laws agree.
LEVEL = 5e-6


def same_law(first, second):
    assert ks_2samp(np.ravel(first), np.ravel(second)).pvalue > LEVEL


def direct_alignment(dim, n, lam, sigma, rng):
    """Eigenpairs of the covariance of N noisy samples about the known mean."""
    scale = np.concatenate([np.sqrt(np.add(lam, sigma**2)), np.full(dim - len(lam), sigma)])
    y = rng.standard_normal((n, dim)) * scale
    _, singular, vectors = np.linalg.svd(y, full_matrices=False)
    r = len(lam)
    return singular[:r] ** 2 / n, vectors[:r, :r] ** 2


@pytest.mark.parametrize(
    ("dim", "n", "lam"),
    [
        (30, 60, [0.3]),
        (30, 60, [3.0]),
        (60, 30, [0.5]),
        (60, 30, [6.0]),
        (40, 40, [1.0]),
        (2, 50, [1.0]),
        (50, 2, [9.0]),
        (1, 5, [1.0]),
        (40, 60, [4.0, 2.0, 1.0]),
        (60, 20, [9.0, 3.0]),
        (3, 3, [2.0, 1.0, 0.5]),
        (3, 8, [2.0, 1.0, 0.5]),
        (4, 30, [2.0, 1.0, 0.5]),
        (30, 3, [9.0, 4.0, 1.0]),
        (5, 4, [9.0, 4.0, 0.0]),
    ],
)
def test_alignment_draws_have_the_direct_law(dim, n, lam, rng):
    drawn = sample_alignment(dim, n, lam, 0.8, RUNS, rng)
    direct = [direct_alignment(dim, n, lam, 0.8, rng) for _ in range(RUNS)]
    for i in range(len(lam)):
        same_law(drawn.eigenvalue[:, i], [v[i] for v, _ in direct])
        for j in range(len(lam)):
            if dim > 1:
                same_law(drawn.squared_cosine[:, i, j], [c[i, j] for _, c in direct])


@pytest.mark.parametrize(("dim", "n"), [(3, 3), (4, 3), (3, 6), (5, 2)])
def test_two_leading_eigenvalues_have_the_mean_sum_of_direct_draws(dim, n, rng):
    # few dimensions and spikes of zero: each entry of the band counts
    drawn = sample_alignment(dim, n, [0.0, 0.0], 1.0, 1000, rng).eigenvalue.sum(axis=1)
    z = rng.standard_normal((20_000, n, dim))
    direct = (np.linalg.svd(z, compute_uv=False)[:, :2] ** 2).sum(axis=1) / n
    error = np.hypot(drawn.std() / 1000**0.5, direct.std() / 20_000**0.5)
    assert abs(drawn.mean() - direct.mean()) < 5 * error


def test_three_spikes_have_the_published_alignments(rng):
    drawn = sample_alignment(40, 60, [4.0, 2.0, 1.0], 1.0, 1500, rng).squared_cosine
    c2 = drawn[:, np.arange(3), np.arange(3)]
    error = np.hypot(c2.std(axis=0) / np.sqrt(1500), 0.006)  # the published runs had theirs, too
    assert (np.abs(c2.mean(axis=0) - [0.748, 0.485, 0.203]) < 4 * error).all()


def test_repeated_spikes_are_judged_by_their_subspace(rng):
    drawn = sample_alignment(400, 2000, [5.0, 5.0], 1.0, 200, rng).squared_cosine
    inside = drawn.sum(axis=2)
    limit = (1 - 0.2 / 25) / (1 + 0.2 / 5)
    assert abs(inside.mean() - limit) < 4 * inside.std() / np.sqrt(400) + 2e-3
    assert 0.3 < np.median(drawn[:, 0, 0]) < 0.7  # the vectors themselves turn freely


def test_the_corner_that_is_drawn_is_large_enough(monkeypatch, rng):
    for lam in ([0.9], [1.0], [1.3, 1.1]):  # near the edge the vectors reach deepest
        seeds = [np.random.default_rng(7) for _ in range(2)]
        short = sample_alignment(3000, 3000, lam, 1.0, 40, seeds[0])
        monkeypatch.setattr("lindiff.simulate._DEPTH", 200)
        long = sample_alignment(3000, 3000, lam, 1.0, 40, seeds[1])
        monkeypatch.undo()
        same_law(short.eigenvalue, long.eigenvalue)
        same_law(short.squared_cosine, long.squared_cosine)


def test_growing_the_corner_keeps_the_draw(monkeypatch):
    monkeypatch.setattr("lindiff.simulate._DEPTH", 1)  # too short: it has to grow
    drawn = sample_alignment(10**5, 10**5, 1.05, 1.0, 200, np.random.default_rng(0))
    monkeypatch.undo()
    whole = sample_alignment(10**5, 10**5, 1.05, 1.0, 200, np.random.default_rng(1))
    same_law(drawn.eigenvalue, whole.eigenvalue)
    same_law(drawn.squared_cosine, whole.squared_cosine)


def test_the_corner_grows_until_the_eigenvectors_have_died_out_at_its_end(monkeypatch):
    seen, solve = [], simulate._top_of_gram

    def watched(band, scale, d):
        values, vectors = solve(band, scale, d)
        seen.append((band.shape[1], np.abs(vectors[-3:]).max()))
        return values, vectors

    monkeypatch.setattr("lindiff.simulate._DEPTH", 1)
    monkeypatch.setattr("lindiff.simulate._top_of_gram", watched)
    for seed in range(5):
        seen.clear()
        sample_alignment(10**5, 10**5, 1.05, 1.0, 1, np.random.default_rng(seed))
        depths, ends = zip(*seen, strict=True)
        assert (np.diff(depths) > 0).all()
        assert ends[-1] < 1e-8 < ends[0]


@pytest.mark.parametrize(("dim", "degrees"), [(3, 10), (3, 3), (3, 2), (3, 0)])
def test_wishart_has_the_law_of_a_gram_matrix(dim, degrees, rng):
    drawn = np.array([wishart(dim, degrees, rng) for _ in range(RUNS)])
    z = rng.standard_normal((RUNS, degrees, dim))
    gram = np.einsum("sij,sik->sjk", z, z)
    if degrees == 0:
        assert not drawn.any()
        return
    same_law(np.linalg.eigvalsh(drawn)[:, -1], np.linalg.eigvalsh(gram)[:, -1])
    same_law(drawn[:, 0, 0], gram[:, 0, 0])
    same_law(drawn[:, 2, 1], gram[:, 2, 1])
    same_law(drawn[:, 2, 2], gram[:, 2, 2])


@pytest.mark.parametrize(("dim", "degrees"), [(1, 2), (3, 7), (3, 4), (3, 3)])
def test_wishart_has_the_mean_trace_and_the_mean_determinant_of_its_law(dim, degrees, rng):
    drawn = np.array([wishart(dim, degrees, rng) for _ in range(4000)])
    # the trace is a chi square of dim * degrees; the determinant a product of independent ones
    mean = math.prod(degrees - i for i in range(dim))
    second = math.prod((degrees - i) * (degrees - i + 2) for i in range(dim))
    for values, expected, variance in (
        (np.trace(drawn, axis1=1, axis2=2), dim * degrees, 2 * dim * degrees),
        (np.linalg.det(drawn), mean, second - mean**2),
    ):
        assert abs(values.mean() - expected) < 5 * (variance / 4000) ** 0.5


def test_symmetric_root_squares_to_the_gram_matrix_and_is_symmetric(rng):
    x = rng.standard_normal((3, 5))
    root = symmetric_root(x.T @ x)
    np.testing.assert_allclose(root, root.T, atol=1e-14)
    np.testing.assert_allclose(root @ root, x.T @ x, atol=1e-12)


def test_symmetric_root_of_a_singular_matrix_does_not_magnify_rounding(rng):
    x = rng.standard_normal((3, 50))
    gram = x.T @ x
    rounding = 1e-15 * np.abs(gram).max() * rng.standard_normal(gram.shape)
    moved = symmetric_root(gram + rounding + rounding.T)
    # a plain root would move by the root of the rounding, 1e-7
    np.testing.assert_allclose(moved, symmetric_root(gram), atol=1e-9)


def test_symmetric_root_of_zero_is_zero():
    assert not symmetric_root(np.zeros((3, 3))).any()


SHAPES = [(40, 6), (7, 6), (6, 6), (4, 6)]  # N above, at and below d, with N - 1 - rank from 0 up


@pytest.mark.parametrize(("n", "d"), SHAPES)
def test_noisy_covariance_has_the_direct_law(n, d, rng):
    x = rng.standard_normal((n, d)) * np.linspace(2, 0, d)  # the last dimension is empty
    drawn = np.array([sample_noisy_covariance(x, 0.7, rng) for _ in range(RUNS)])
    y = x + 0.7 * rng.standard_normal((RUNS, n, d))
    direct = np.array([np.cov(s.T, bias=True) for s in y])
    same_law(np.linalg.eigvalsh(drawn)[:, -1], np.linalg.eigvalsh(direct)[:, -1])
    same_law(np.trace(drawn, axis1=1, axis2=2), np.trace(direct, axis1=1, axis2=2))
    same_law(drawn[:, 0, 1], direct[:, 0, 1])
    same_law(drawn[:, -1, -1], direct[:, -1, -1])


def direct_bases(x, sigmas, noise, rng):
    """Leading eigenvectors at two levels, with the noise drawn."""
    white = rng.standard_normal((2, *x.shape))
    low, high = sigmas[1], sigmas[0]
    at_low = low * white[0]
    at_high = {
        "fresh": high * white[1],
        "frozen": high * white[0],
        "cumulative": at_low + np.sqrt(high**2 - low**2) * white[1],
    }[noise]
    fits = [Gaussian.fit(x + z, 2) for z in (at_high, at_low)]
    return np.array([f.eigenvalues for f in fits]), np.array([f.basis for f in fits])


@pytest.mark.parametrize(("n", "d"), SHAPES)
@pytest.mark.parametrize("noise", ["fresh", "frozen", "cumulative"])
def test_noisy_pca_has_the_direct_law_within_and_across_levels(noise, n, d, rng):
    x = rng.standard_normal((n, d)) * np.linspace(2, 0, d)
    sigmas = np.array([1.0, 0.6])
    u = Gaussian.fit(x, 1).basis[0]
    drawn, direct = [], []
    for _ in range(RUNS):
        for out, (values, basis) in (
            (drawn, noisy_pca(x, sigmas, 2, noise=noise, rng=rng)),
            (direct, direct_bases(x, sigmas, noise, rng)),
        ):
            across = (basis[0, 0] @ basis[1, 0]) ** 2
            out.append([*values.ravel(), *(basis[:, 0] @ u) ** 2, across])
    for k in range(7):
        same_law(np.array(drawn)[:, k], np.array(direct)[:, k])


def test_frozen_noise_bends_the_basis_smoothly(rng):
    x = rng.standard_normal((200, 30)) * np.linspace(3, 0.5, 30)
    sigmas = np.linspace(2, 0, 41)
    overlap = {}
    for noise in ("fresh", "cumulative", "frozen"):
        u = noisy_pca(x, sigmas, 1, noise=noise, rng=rng).basis[:, 0]
        overlap[noise] = np.abs((u[1:] * u[:-1]).sum(axis=1)).min()
    assert overlap["fresh"] < overlap["cumulative"] < overlap["frozen"]


def test_without_noise_the_bases_are_the_data_s_own(rng):
    x = rng.standard_normal((50, 8)) * np.linspace(3, 1, 8)
    clean = Gaussian.fit(x, 2)
    bases = noisy_pca(x, [1e-9, 0.0], 2, noise="cumulative", rng=rng)
    np.testing.assert_allclose(bases.eigenvalues[1], clean.eigenvalues, rtol=1e-10)
    np.testing.assert_allclose(np.abs(bases.basis[1] @ clean.basis.T), np.eye(2), atol=1e-9)


def test_many_dimensions_take_the_lanczos_branch(rng):
    x = rng.standard_normal((100, 40)) * np.linspace(5, 1, 40)
    few = noisy_pca(x, [0.5, 0.1], 3, noise="frozen", rng=np.random.default_rng(5))
    many = noisy_pca(x, [0.5, 0.1], 20, noise="frozen", rng=np.random.default_rng(5))
    np.testing.assert_allclose(few.eigenvalues, many.eigenvalues[:, :3], rtol=1e-9)


def mean_alignment(cell, rng):
    dim, spike = cell
    return float(sample_alignment(dim, 2 * dim, spike, 1.0, 5, rng).squared_cosine.mean())


CELLS = [(100, 1.0), (100, 2.0), (1000, 1.0), (1000, 2.0)]


def test_a_sweep_gives_the_same_numbers_for_any_number_of_workers():
    alone = sweep(mean_alignment, CELLS, seed=3)
    assert alone == sweep(mean_alignment, CELLS, seed=3, n_jobs=2)
    assert alone != sweep(mean_alignment, CELLS, seed=4)
    assert len(set(alone)) == len(CELLS)


def test_a_sweep_runs_on_a_dask_cluster():
    alone = sweep(mean_alignment, CELLS, seed=3)
    with (
        dask.distributed.LocalCluster(
            n_workers=2, threads_per_worker=1, processes=False, dashboard_address=None
        ) as cluster,
        dask.distributed.Client(cluster),
        joblib.parallel_config(backend="dask"),
    ):
        assert sweep(mean_alignment, CELLS, seed=3) == alone


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda r: sample_alignment(2, 9, [3.0, 2.0, 1.0], 1.0, 1, r), "dim is 2"),
        (lambda r: sample_alignment(9, 2, [3.0, 2.0, 1.0], 1.0, 1, r), "n_samples is 2"),
        (lambda r: sample_alignment(9, 9, [1.0, 2.0], 1.0, 1, r), "expected descending"),
        (lambda r: sample_alignment(9, 9, [], 1.0, 1, r), "number of spikes is 0"),
        (lambda r: sample_alignment(9, 9, 1.0, 0.0, 1, r), "sigma is 0.0"),
        (lambda r: sample_alignment(9, 9, 1.0, 1.0, 0, r), "size is 0"),
        (lambda r: sample_noisy_covariance(np.ones(3), 1.0, r), "x has shape"),
        (lambda r: sample_noisy_covariance(np.ones((1, 3)), 1.0, r), "rows of x"),
        (lambda r: sample_noisy_covariance(np.ones((4, 3)), -1.0, r), "sigma is -1.0"),
        (lambda r: noisy_pca(np.ones((4, 3)), [0.1, 0.2], 1, rng=r), "strictly decreasing"),
        (lambda r: noisy_pca(np.ones((4, 3)), [0.2, 0.1], 4, rng=r), "rank is 4"),
        (lambda r: noisy_pca(np.ones((3, 4)), [0.2, 0.1], 3, rng=r), "rank is 3"),  # N - 1 is 2
        (lambda r: noisy_pca(np.ones((4, 3)), [2, 1], 1, noise="pink", rng=r), "noise is 'pink'"),
        (lambda r: noisy_pca(np.full((4, 3), np.nan), [2, 1], 1, rng=r), "x is nan"),
    ],
)
def test_bad_input_is_named(call, message, rng):
    with pytest.raises(ValueError, match=message):
        call(rng)
