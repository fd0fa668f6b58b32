"""The exact simulations have the law of the direct computation."""

import math

import numpy as np
import pytest
from same_law import RUNS, same_law

from lindiff import draws
from lindiff.draws import _symmetric_root, draw_alignment, wishart


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
    drawn = draw_alignment(dim, n, lam, 0.8, RUNS, rng=rng)
    direct = [direct_alignment(dim, n, lam, 0.8, rng) for _ in range(RUNS)]
    for i in range(len(lam)):
        same_law(drawn.eigenvalues[:, i], [v[i] for v, _ in direct])
        for j in range(len(lam)):
            if dim > 1:
                same_law(drawn.squared_cosines[:, i, j], [c[i, j] for _, c in direct])


@pytest.mark.parametrize(("dim", "n"), [(3, 3), (4, 3), (3, 6), (5, 2)])
def test_two_leading_eigenvalues_have_the_mean_sum_of_direct_draws(dim, n, rng):
    # few dimensions and spikes of zero: each entry of the band counts
    drawn = draw_alignment(dim, n, [0.0, 0.0], 1.0, 1000, rng=rng).eigenvalues.sum(axis=1)
    z = rng.standard_normal((20_000, n, dim))
    direct = (np.linalg.svd(z, compute_uv=False)[:, :2] ** 2).sum(axis=1) / n
    error = np.hypot(drawn.std() / 1000**0.5, direct.std() / 20_000**0.5)
    assert abs(drawn.mean() - direct.mean()) < 5 * error


def test_three_spikes_have_the_published_alignments(rng):
    drawn = draw_alignment(40, 60, [4.0, 2.0, 1.0], 1.0, 1500, rng=rng).squared_cosines
    c2 = drawn[:, np.arange(3), np.arange(3)]
    error = np.hypot(c2.std(axis=0) / np.sqrt(1500), 0.006)  # the published runs had theirs, too
    assert (np.abs(c2.mean(axis=0) - [0.748, 0.485, 0.203]) < 4 * error).all()


def test_repeated_spikes_are_judged_by_their_subspace(rng):
    drawn = draw_alignment(400, 2000, [5.0, 5.0], 1.0, 200, rng=rng).squared_cosines
    inside = drawn.sum(axis=2)
    limit = (1 - 0.2 / 25) / (1 + 0.2 / 5)
    assert abs(inside.mean() - limit) < 4 * inside.std() / np.sqrt(400) + 2e-3
    assert 0.3 < np.median(drawn[:, 0, 0]) < 0.7  # the vectors themselves turn freely


def test_the_corner_that_is_drawn_is_large_enough(monkeypatch, rng):
    for lam in ([0.9], [1.0], [1.3, 1.1]):  # near the edge the vectors reach deepest
        seeds = [np.random.default_rng(7) for _ in range(2)]
        short = draw_alignment(3000, 3000, lam, 1.0, 40, rng=seeds[0])
        monkeypatch.setattr("lindiff.draws._DEPTH", 200)
        long = draw_alignment(3000, 3000, lam, 1.0, 40, rng=seeds[1])
        monkeypatch.undo()
        same_law(short.eigenvalues, long.eigenvalues)
        same_law(short.squared_cosines, long.squared_cosines)


def test_growing_the_corner_keeps_the_draw(monkeypatch):
    monkeypatch.setattr("lindiff.draws._DEPTH", 1)  # too short: it has to grow
    drawn = draw_alignment(10**5, 10**5, 1.05, 1.0, 200, rng=np.random.default_rng(0))
    monkeypatch.undo()
    whole = draw_alignment(10**5, 10**5, 1.05, 1.0, 200, rng=np.random.default_rng(1))
    same_law(drawn.eigenvalues, whole.eigenvalues)
    same_law(drawn.squared_cosines, whole.squared_cosines)


def test_the_corner_grows_until_the_eigenvectors_have_died_out_at_its_end(monkeypatch):
    seen, solve = [], draws._top_of_gram

    def watched(band, scale, d):
        values, vectors = solve(band, scale, d)
        seen.append((band.shape[1], np.abs(vectors[-3:]).max()))
        return values, vectors

    monkeypatch.setattr("lindiff.draws._DEPTH", 1)
    monkeypatch.setattr("lindiff.draws._top_of_gram", watched)
    for seed in range(5):
        seen.clear()
        draw_alignment(10**5, 10**5, 1.05, 1.0, 1, rng=np.random.default_rng(seed))
        depths, ends = zip(*seen, strict=True)
        assert (np.diff(depths) > 0).all()
        assert ends[-1] < 1e-8 < ends[0]


@pytest.mark.parametrize(("dim", "degrees"), [(3, 10), (3, 3), (3, 2), (3, 0)])
def test_wishart_has_the_law_of_a_gram_matrix(dim, degrees, rng):
    drawn = np.array([wishart(dim, degrees, rng=rng) for _ in range(RUNS)])
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
    drawn = np.array([wishart(dim, degrees, rng=rng) for _ in range(4000)])
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
    root = _symmetric_root(x.T @ x)
    np.testing.assert_allclose(root, root.T, atol=1e-14)
    np.testing.assert_allclose(root @ root, x.T @ x, atol=1e-12)


def test_symmetric_root_of_a_singular_matrix_does_not_magnify_rounding(rng):
    x = rng.standard_normal((3, 50))
    gram = x.T @ x
    rounding = 1e-15 * np.abs(gram).max() * rng.standard_normal(gram.shape)
    moved = _symmetric_root(gram + rounding + rounding.T)
    # a plain root would move by the root of the rounding, 1e-7
    np.testing.assert_allclose(moved, _symmetric_root(gram), atol=1e-9)
    np.testing.assert_allclose(moved @ moved, gram, atol=1e-9 * np.abs(gram).max())


def test_symmetric_root_of_zero_is_zero():
    assert not _symmetric_root(np.zeros((3, 3))).any()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda r: draw_alignment(2, 9, [3.0, 2.0, 1.0], 1.0, 1, rng=r), "dim is 2"),
        (lambda r: draw_alignment(9, 2, [3.0, 2.0, 1.0], 1.0, 1, rng=r), "n_samples is 2"),
        (lambda r: draw_alignment(9, 9, [1.0, 2.0], 1.0, 1, rng=r), "expected descending"),
        (lambda r: draw_alignment(9, 9, [], 1.0, 1, rng=r), "number of spikes is 0"),
        (lambda r: draw_alignment(9, 9, 1.0, 0.0, 1, rng=r), "sigma is 0.0"),
        (lambda r: draw_alignment(9, 9, 1.0, 1.0, 0, rng=r), "size is 0"),
    ],
)
def test_bad_input_is_named(call, message, rng):
    with pytest.raises(ValueError, match=message):
        call(rng)
