"""A seeded result is a continuous function of its inputs, on every processor.

Rounding moves inputs by parts in 1e16, and a library may return an eigenvector with either sign.
Neither may change which sample a seed stands for.
"""

import os
import subprocess
import sys
from pathlib import Path

import kernels
import numpy as np
import pytest
import seeded
import torch

from lindiff import draws
from lindiff.chains import draw_chain
from lindiff.deep.jacobian import Jacobian
from lindiff.denoisers import LinearDenoiser
from lindiff.gaussian import Gaussian
from lindiff.laws import draw
from lindiff.mixtures import GaussianMixture
from lindiff.pca import noisy_pca
from lindiff.power import krylov
from lindiff.samplers import ancestral, ddim_eta, sample
from lindiff.subspaces import fixed_signs

# N above, at and below d + 1; then columns that repeat, an empty one, and equal eigenvalues
SHAPES = {"many": (60, 8), "just enough": (9, 8), "few": (6, 8), "equal": (8, 8)}


def samples(case):
    """Clean samples of one case, in general position or singular."""
    rng = np.random.default_rng(5)
    if case == "few, equal eigenvalues":
        return 3 * np.eye(6, 8)
    if case == "many, equal eigenvalues":
        return np.tile(3 * np.eye(8), (3, 1))
    if case in SHAPES:
        return rng.standard_normal(SHAPES[case]) * np.linspace(3.0, 0.5, 8)
    x = rng.standard_normal((60, 8)) * np.linspace(3.0, 0.5, 8)
    if case == "repeated":
        x[:, 5:] = x[:, :3]
    if case == "empty":
        x[:, 3] = 0.0
    return x


EQUAL = ["few, equal eigenvalues", "many, equal eigenvalues"]
CASES = [*SHAPES, "repeated", "empty", *EQUAL]


def agree(first, second, tolerance=1e-8):
    """Compare two dictionaries of arrays, each in units of its largest entry."""
    assert first.keys() == second.keys()
    for name, expected in first.items():
        gap = np.abs(np.asarray(second[name]) - expected).max() / np.abs(expected).max()
        assert gap < tolerance, f"{name} differs by {gap:.1e} of its largest entry"


@pytest.mark.parametrize("case", CASES)
def test_rounding_of_the_data_does_not_change_what_is_drawn_from_it(case):
    x = samples(case)
    noise = np.random.default_rng(6).standard_normal(x.shape)
    agree(seeded.from_samples(x), seeded.from_samples(x * (1 + 1e-12 * noise)))


@pytest.mark.parametrize("case", CASES)
def test_the_memory_order_of_the_data_does_not_change_what_is_drawn_from_it(case):
    x = samples(case)
    agree(seeded.from_samples(x), seeded.from_samples(np.asfortranarray(x)))


@pytest.mark.parametrize("case", ["many", "just enough", "repeated", "empty", EQUAL[1]])
def test_the_order_of_many_samples_does_not_change_what_is_drawn_from_them(case):
    x = samples(case)
    agree(seeded.from_samples(x), seeded.from_samples(x[::-1]))


def mirrored():
    """Samples with their mirror images: each eigenvector is even or odd, with peaks that tie."""
    half = np.random.default_rng(7).standard_normal((40, 9)) * np.linspace(3.0, 0.5, 9)
    return np.vstack([half, half[:, ::-1]])


@pytest.mark.parametrize(
    "other",
    [np.asfortranarray, lambda x: x[::-1], lambda x: x * (1 + 1e-12), lambda x: x + 1e-13],
    ids=["memory order", "order of rows", "scale", "shift"],
)
def test_the_basis_of_mirrored_data_has_the_same_signs_however_it_is_computed(other):
    x = mirrored()
    expected = Gaussian.fit(x).basis
    peaks = np.sort(np.abs(expected), axis=1)[:, -2:]
    assert (np.ptp(peaks, axis=1) < 1e-12).sum() >= 8, "the peaks tie in nearly every row"
    np.testing.assert_allclose(Gaussian.fit(other(x)).basis, expected, atol=1e-10)


def test_lanczos_finds_the_odd_eigenvectors_of_mirrored_data():
    half = np.random.default_rng(8).standard_normal((200, 40)) * np.linspace(3.0, 0.5, 40)
    x = np.vstack([half, -half[:, ::-1]])
    odd = Gaussian.fit(x, 3).basis @ np.eye(40)[::-1] * Gaussian.fit(x, 3).basis
    assert (odd.sum(axis=1) < -0.9).any(), "one of the three is odd"
    bases = noisy_pca(x, [0.1, 0.0], 3, noise="frozen", rng=np.random.default_rng(0))
    expected = Gaussian.fit(x, 3)
    np.testing.assert_allclose(bases.eigenvalues[1], expected.eigenvalues, rtol=1e-9)
    np.testing.assert_allclose(bases.basis[1], expected.basis, atol=1e-7)


@pytest.fixture
def law_and_its_twin(random_law):
    """One covariance in two bases: other signs, and another basis where eigenvalues repeat."""
    law = random_law([5.0, 2.0, 2.0, 1.0], dim=6)
    turn = np.array([[0.6, 0.8], [-0.8, 0.6]])
    basis = law.basis * np.array([[-1.0], [1.0], [1.0], [-1.0]])
    basis[1:3] = turn @ basis[1:3]
    return law, Gaussian(law.mean, law.eigenvalues, basis)


@pytest.mark.parametrize(
    "results",
    [
        lambda law, rng: law.sample(7, rng=rng),
        lambda law, rng: GaussianMixture([0.5, 0.5], [law, law]).sample(7, rng=rng),
        lambda law, rng: draw(LinearDenoiser(law), [9.0, 3.0, 0.5], 7, times=(1, 2), rng=rng),
        lambda law, rng: draw(
            LinearDenoiser(law), [9.0, 1.0, 0.0], 50, step=ddim_eta(1.0), rng=rng
        ),
        lambda law, rng: draw(LinearDenoiser(law), [9.0, 1.0], 50, step=ancestral, rng=rng),
        lambda law, rng: (
            list(
                sample(
                    LinearDenoiser(law), np.ones((3, 6)), [2.0, 1.0, 0.0], step=ancestral, rng=rng
                )
            )[-1].x
        ),
        lambda law, rng: (
            list(
                sample(
                    LinearDenoiser(law),
                    np.ones((3, 6)),
                    [2.0, 1.0, 0.5],
                    step=ddim_eta(0.5),
                    rng=rng,
                )
            )[-1].x
        ),
    ],
    ids=["sample", "mixture", "draw", "draw eta", "draw ancestral", "ancestral", "eta"],
)
def test_draws_do_not_depend_on_the_basis_that_describes_a_covariance(results, law_and_its_twin):
    law, twin = law_and_its_twin
    expected = results(law, np.random.default_rng(1))
    found = results(twin, np.random.default_rng(1))
    np.testing.assert_allclose(found, expected, atol=1e-11)


def test_eigenvalues_that_cross_do_not_change_a_draw():
    axes = np.eye(2)
    low, high = (
        Gaussian(np.zeros(2), [1 + 1e-12, 1.0], rows).sample(5, rng=np.random.default_rng(0))
        for rows in (axes, axes[::-1])
    )
    np.testing.assert_allclose(low, high, atol=1e-11)


def test_signs_are_fixed_by_the_first_of_the_largest_entries():
    rows = np.array([[0.1, -0.7, 0.7 + 1e-10], [-0.7, 0.1, 0.7], [0.2, 0.1, -0.9], [0.0, 0.0, 0.0]])
    np.testing.assert_array_equal(np.sign(fixed_signs(rows)[:3, [1, 0, 2]].diagonal()), [1, 1, 1])
    np.testing.assert_array_equal(fixed_signs(rows), fixed_signs(-rows))
    assert fixed_signs(np.empty((0, 4))).shape == (0, 4)


def test_decompositions_return_fixed_signs():
    matrix = np.random.default_rng(2).standard_normal((30, 30))
    pairs = krylov(matrix + matrix.T, 5, rng=np.random.default_rng(1))
    jacobian = Jacobian(lambda y, sigma: y @ torch.tensor(matrix), torch.zeros(30).double(), 1.0)
    triplets = jacobian.svd(5, tol=1e-8, rng=np.random.default_rng(1))
    for vectors in (pairs.eigenvectors, triplets.right):
        np.testing.assert_array_equal(vectors, fixed_signs(vectors))
    images = triplets.singular_values[:, None] * triplets.left
    np.testing.assert_allclose(triplets.right @ matrix, images, atol=1e-6)


def test_a_chain_does_not_change_when_eigenvectors_change_their_signs(monkeypatch):
    """Directions that come from a library with either sign are turned before they are used."""

    arguments = (40, 60, [4.0, 2.0], [1.0, 0.5], 3)
    expected = draw_chain(*arguments, rng=np.random.default_rng(0)).matrix()
    plain = draws._top_of_gram

    def flipped(*given):
        values, vectors = plain(*given)
        return values, vectors * [[-1.0, 1.0]]

    monkeypatch.setattr(draws, "_top_of_gram", flipped)
    found = draw_chain(*arguments, rng=np.random.default_rng(0)).matrix()
    np.testing.assert_allclose(found, expected, atol=1e-12)


def under(setting, tmp_path):
    """What `seeded.py` computes in a process of its own, with the kernels of a setting."""
    target = tmp_path / "results.npz"
    subprocess.run(
        [sys.executable, "-W", "error", seeded.__file__, str(target)],
        env=os.environ | setting,
        check=True,
        cwd=Path(__file__).parent,
        timeout=300,
    )
    with np.load(target) as stored:
        return dict(stored)


@pytest.mark.parametrize("name", [name for name in kernels.settings() if name != "native"])
def test_other_kernels_give_the_same_results(name, tmp_path):
    """Float64 to 1e-8; float32 networks to 1e-3, some thousand roundings of 1e-7."""
    settings = kernels.settings()
    (tmp_path / "native").mkdir()
    expected, found = (
        under(settings["native"], tmp_path / "native"),
        under(settings[name], tmp_path),
    )
    single = {key for key in expected if key.startswith("float32 ")}
    assert single and len(expected) > len(single) + 10
    agree(*({k: v for k, v in part.items() if k not in single} for part in (expected, found)))
    agree(*({k: part[k] for k in single} for part in (expected, found)), tolerance=1e-3)
