"""Noisy PCA without noisy data has the law of PCA with it."""

import numpy as np
import pytest
from same_law import RUNS, same_law

from lindiff.gaussian import Gaussian
from lindiff.pca import noisy_pca

SHAPES = [(40, 6), (7, 6), (6, 6), (4, 6)]  # N above, at and below d, with N - 1 - rank from 0 up


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
def test_noisy_covariance_has_the_direct_law(n, d, rng):
    x = rng.standard_normal((n, d)) * np.linspace(2, 0, d)  # the last dimension is empty
    rank, drawn = min(n - 1, d), np.empty((RUNS, d, d))
    for out in drawn:
        values, basis = (part[0] for part in noisy_pca(x, [0.7, 0.0], rank, rng=rng))
        out[:] = (basis.T * values) @ basis
    y = x + 0.7 * rng.standard_normal((RUNS, n, d))
    direct = np.array([np.cov(s.T, bias=True) for s in y])
    same_law(np.linalg.eigvalsh(drawn)[:, -1], np.linalg.eigvalsh(direct)[:, -1])
    same_law(np.trace(drawn, axis1=1, axis2=2), np.trace(direct, axis1=1, axis2=2))
    same_law(drawn[:, 0, 1], direct[:, 0, 1])
    same_law(drawn[:, -1, -1], direct[:, -1, -1])


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


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda r: noisy_pca(np.ones((4, 3)), [0.1, 0.2], 1, rng=r), "strictly decreasing"),
        (lambda r: noisy_pca(np.ones((4, 3)), [0.2, 0.1], 4, rng=r), "rank is 4"),
        (lambda r: noisy_pca(np.ones((3, 4)), [0.2, 0.1], 3, rng=r), "rank is 3"),  # N - 1 is 2
        (lambda r: noisy_pca(np.ones((4, 3)), [2, 1], 1, noise="pink", rng=r), "noise is 'pink'"),
        (lambda r: noisy_pca(np.full((4, 3), np.nan), [2, 1], 1, rng=r), "x is nan"),
        (lambda r: noisy_pca(np.ones(3), [2, 1], 1, rng=r), "x has shape"),
        (lambda r: noisy_pca(np.ones((1, 3)), [2, 1], 1, rng=r), "rows of x"),
        (lambda r: noisy_pca(np.ones((4, 3)), [2, -1], 1, rng=r), "sigmas ends at -1"),
    ],
)
def test_bad_input_is_named(call, message, rng):
    with pytest.raises(ValueError, match=message):
        call(rng)
