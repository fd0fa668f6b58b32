"""Right answers where rounding, units or low precision would spoil them.

Data in pascal, in tesla, far from the origin or in half precision must give the answer that exact
arithmetic gives, after rescaling.
"""

from itertools import islice

import numpy as np
import pytest
import torch

from lindiff.chains import draw_chain, overlap_limit
from lindiff.clocks import clock, operator_clock
from lindiff.deep.networks import Rows, precondition
from lindiff.denoisers import LinearDenoiser, project
from lindiff.draws import wishart
from lindiff.finite_data import effective_noise, infinite_draw_risk
from lindiff.frequency import stationary
from lindiff.gaussian import Gaussian, wasserstein2
from lindiff.laws import affine_map, law
from lindiff.mixtures import EmpiricalBayes, GaussianMixture
from lindiff.pca import noisy_pca
from lindiff.power import krylov, power_iteration, subspace_iteration
from lindiff.samplers import ddim, heun, sample
from lindiff.spiked import general_limits, mixing, spike_from_eigenvalue
from lindiff.subspaces import overlaps
from lindiff.sweeps import sweep

SCALES = [1e-13, 1e-8, 1.0, 1e8, 1e13]
PRESSURES = np.array([[101325.0], [101345.0], [101365.0]])


# --- far from the origin ------------------------------------------------------------------------


def memory_by_hand(x, y, sigma):
    """Posterior mean with weights from plain differences."""
    weights = np.exp(-((y - x.ravel()) ** 2) / (2 * sigma**2))
    return (weights @ x.ravel()) / weights.sum()


def test_the_memory_knows_pressures_in_pascal():
    y = np.array([[101338.0]], np.float32)
    found = EmpiricalBayes(PRESSURES)(y, 10.0)
    assert found[0, 0] == pytest.approx(memory_by_hand(PRESSURES, 101338.0, 10.0), abs=0.02)
    assert found[0, 0] == pytest.approx(101338.48, abs=0.02)


@pytest.mark.parametrize("offset", [0.0, 1e5, 1e8, 1e11])
def test_a_shift_of_the_data_shifts_the_answers(rng, offset):
    x, y = rng.standard_normal((20, 3)), rng.standard_normal((5, 3))
    x, y = np.round(x, 3) + offset, np.round(y, 3) + offset  # rounded as numbers so large are
    near = x - offset, y - offset
    room = 1e-9 + 1e-14 * offset
    for make in (
        EmpiricalBayes,
        LinearDenoiser.fit,
        lambda z: GaussianMixture([0.5, 0.5], [Gaussian.fit(z[:9], 2), Gaussian.fit(z[9:], 2)]),
    ):
        far, plain = make(x), make(near[0])
        np.testing.assert_allclose(far(y, 0.7) - offset, plain(near[1], 0.7), atol=room)
        if hasattr(far, "jacobian"):
            expected = plain.jacobian(near[1][0], 0.7)
            np.testing.assert_allclose(far.jacobian(y[0], 0.7), expected, atol=room)
    np.testing.assert_allclose(Gaussian.fit(x).eigenvalues, Gaussian.fit(near[0]).eigenvalues)
    bases = [noisy_pca(z, [1.0, 0.5], 1, rng=np.random.default_rng(0)) for z in (x, near[0])]
    np.testing.assert_allclose(bases[0].eigenvalues, bases[1].eigenvalues, rtol=1e-9)


# --- constants ----------------------------------------------------------------------------------


def test_a_constant_is_a_law_without_variance():
    denoiser = LinearDenoiser.fit(np.full((1000, 1), 14.62), gain=project)
    assert denoiser.model.eigenvalues.tolist() == [0.0]
    assert denoiser(np.array([[15.0]]), 1.0)[0, 0] == 14.62


def test_a_large_constant_beside_a_small_signal_has_no_direction(rng):
    x = np.column_stack([np.full(500, 1e10 + 0.3), 1e-6 * rng.standard_normal(500)])
    fit = Gaussian.fit(x)
    np.testing.assert_allclose(np.abs(fit.basis[0]), [0.0, 1.0], atol=1e-12)
    assert fit.eigenvalues[0] == pytest.approx(x[:, 1].var()) and fit.eigenvalues[1] == 0


# --- low precision and tiny noise ---------------------------------------------------------------


@pytest.mark.parametrize(
    ("dtype", "sigma"),
    [("f2", 1e-3), ("f2", 1e-7), ("f4", 1e-20), ("f4", 1e-30), ("f8", 1e-160), ("f8", 1e-170)],
)
def test_a_mixture_of_two_points_is_undecided_between_them_at_any_noise(dtype, sigma):
    points = [Gaussian(np.array([m]), [], np.empty((0, 1))) for m in (-1.0, 1.0)]
    mixture = GaussianMixture([0.5, 0.5], points)
    y = np.array([[0.0], [0.25], [-0.25]], dtype)
    np.testing.assert_array_equal(mixture(y, sigma), np.array([[0.0], [1.0], [-1.0]], dtype))


def test_a_mixture_of_wide_laws_keeps_what_it_is_given_without_noise():
    laws = [Gaussian(np.array([m, 0.0]), [4.0, 0.0], np.eye(2)) for m in (-1.0, 1.0)]
    y = np.array([[0.3, 0.0]])
    np.testing.assert_allclose(GaussianMixture([0.5, 0.5], laws)(y, 1e-160), y, atol=1e-12)


# --- units --------------------------------------------------------------------------------------


@pytest.mark.parametrize("sigma", [1e-3, 1e-7, 1e-9, 1e-13])
def test_the_effective_noise_of_little_noise_is_proportional_to_it(sigma):
    # four modes, five samples: kappa / sigma^2 tends to 1 / (1 - 4/5)
    ratio = effective_noise([5.0, 2.0, 1.0, 0.1], sigma, 5) / (5 * sigma**2)
    assert ratio == pytest.approx(1.0, abs=2e-4 if sigma == 1e-3 else 1e-9)


@pytest.mark.parametrize("scale", SCALES)
def test_units_do_not_matter(scale, rng):
    lam, sigma = np.array([5.0, 2.0, 1.0, 0.1]), 0.3
    for function, power in ((effective_noise, 2), (infinite_draw_risk, 2)):
        scaled = function(scale**2 * lam, scale * sigma, 3)
        assert scaled / scale**power == pytest.approx(function(lam, sigma, 3), rel=1e-10)
    assert effective_noise(scale**2 * lam, 0.0, 3) / scale**2 == pytest.approx(
        effective_noise(lam, 0.0, 3), rel=1e-10
    )
    value, c2 = general_limits(scale**2 * lam, scale * sigma, 50)
    plain = general_limits(lam, sigma, 50)
    np.testing.assert_allclose(value / scale**2, plain[0], rtol=1e-10)
    np.testing.assert_allclose(c2, plain[1], rtol=1e-10)
    x = rng.standard_normal((30, 3)) * [3.0, 1.0, 0.2]
    np.testing.assert_allclose(Gaussian.fit(scale * x).basis, Gaussian.fit(x).basis, atol=1e-10)
    laws = [Gaussian.fit(scale * part) for part in (x[:15], x[15:])]
    expected = wasserstein2(Gaussian.fit(x[:15]), Gaussian.fit(x[15:]))
    assert wasserstein2(*laws) / scale == pytest.approx(expected, rel=1e-10)
    y = scale * x[:2]
    for make in (EmpiricalBayes, LinearDenoiser.fit):
        found = make(scale * x)(y, scale * 0.5) / scale
        np.testing.assert_allclose(found, make(x)(x[:2], 0.5), rtol=1e-9)
    denoiser = LinearDenoiser.fit(scale * x)
    folded = affine_map(denoiser, scale * np.array([2.0, 1.0, 0.0]), 3)
    plain = affine_map(LinearDenoiser.fit(x), [2.0, 1.0, 0.0], 3)
    np.testing.assert_allclose(folded.matrix, plain.matrix, atol=1e-9)


def test_a_denoiser_that_is_not_affine_is_refused_in_any_unit():
    for scale in SCALES:
        with pytest.raises(ValueError, match="not affine"):
            affine_map(lambda y, sigma, s=scale: s * np.tanh(y), [2.0, 1.0], 3)


# --- edges and ties -----------------------------------------------------------------------------


def test_every_eigenvalue_at_the_edge_of_the_bulk_has_a_finite_spike():
    for gamma in np.linspace(0.05, 8, 152):
        edge = (1 + np.sqrt(gamma)) ** 2
        spike = float(spike_from_eigenvalue(edge, 1.0, gamma))
        assert spike == 0 or spike == pytest.approx(np.sqrt(gamma), rel=1e-6)
    assert np.isfinite(spike_from_eigenvalue((1 + np.sqrt(3)) ** 2, 1.0, 3.0))


@pytest.mark.parametrize("split", [0.0, 1e-16, 3e-16, 1e-15])
def test_a_tie_that_rounding_splits_is_a_tie(split):
    lam = np.array([3.0, 1.0 + split, 1.0, 0.5])
    value, c2 = general_limits(lam, 0.4, 40)
    expected_value, expected_c2 = general_limits([3.0, 1.0, 1.0, 0.5], 0.4, 40)
    np.testing.assert_allclose(value, expected_value, rtol=1e-12)
    np.testing.assert_allclose(c2, expected_c2, rtol=1e-12)
    assert c2[1] == c2[2] == 0 < c2[0]


# --- small distances ----------------------------------------------------------------------------


def test_the_same_data_in_another_order_have_distance_zero_up_to_rounding(rng):
    x = rng.standard_normal((200, 6)) * np.linspace(3, 0.1, 6)
    assert wasserstein2(Gaussian.fit(x), Gaussian.fit(x[::-1])) < 1e-14


@pytest.mark.parametrize("size", [1e-4, 1e-7, 1e-10, 1e-13])
def test_a_small_distance_is_right_when_the_bases_differ(random_law, size):
    law = random_law([4.0, 2.0, 1.0])
    turn = np.linalg.qr(np.random.default_rng(0).standard_normal((3, 3)))[0]
    root = (law.basis.T * (np.sqrt(law.eigenvalues) + size)) @ law.basis  # each std larger by size
    values, vectors = np.linalg.eigh(turn @ root @ root @ turn.T)
    other = Gaussian(law.mean, values[::-1], (turn.T @ vectors[:, ::-1]).T)
    assert wasserstein2(law, other) == pytest.approx(np.sqrt(3) * size, rel=0.01, abs=3e-14)


# --- what NumPy would drop ----------------------------------------------------------------------

MASKED = np.ma.masked_array(np.ones((2, 2)), [[0, 1], [0, 0]])
PLANE = LinearDenoiser(Gaussian(np.zeros(2), [2.0, 1.0], np.eye(2)))


@pytest.mark.parametrize(
    "call",
    [
        lambda: PLANE(MASKED, 1.0),
        lambda: EmpiricalBayes(np.eye(2))(MASKED, 1.0),
        lambda: law(PLANE, [1.0, 0.5], start=MASKED[0]),
        lambda: LinearDenoiser.fit(MASKED),
        lambda: list(sample(PLANE, MASKED, [1.0, 0.5])),
    ],
    ids=["linear", "memory", "law", "fit", "sample"],
)
def test_masked_values_are_refused(call):
    with pytest.raises(ValueError, match="mask"):
        call()


def test_imaginary_parts_are_refused():
    with pytest.raises(ValueError, match="start is"):
        law(PLANE, [1.0, 0.5], start=np.array([1.0, 1.0 + 1.0j]))
    for step in (ddim, heun):
        with pytest.raises(ValueError, match="complex"):
            list(sample(lambda y, s: y * (1 + 0.1j), np.ones((1, 2)), [1.0, 0.5], step=step))
    with pytest.raises(ValueError, match="complex"):
        list(sample(lambda y, s: y * (1 + 0.1j), torch.ones(1, 2), [1.0, 0.5]))


# --- what the caller owns, and types of numbers ---------------------------------------------------


def test_a_denoiser_keeps_its_own_copy_of_the_samples():
    x = np.array([[0.0], [1.0]])
    memory = EmpiricalBayes(x)
    before = memory(np.array([[0.4]]), 0.5)
    x[:] = 7.0
    np.testing.assert_array_equal(memory(np.array([[0.4]]), 0.5), before)
    np.testing.assert_array_equal(memory.x, [[0.0], [1.0]])


def test_whole_numbers_of_every_type_mean_the_same():
    np.testing.assert_array_equal(
        mixing([4.0, 2.0], np.int8(100), 100, 0.5), mixing([4.0, 2.0], 100.0, 100, 0.5)
    )
    assert mixing([4.0, 2.0], np.int8(100), 100, 0.5)[1, 0] == pytest.approx(99.98, rel=1e-3)
    assert stationary(8.0, 2.0).dim == 64
    chain = draw_chain(10.0, 20.0, [4.0, 2.0], [1.0, 0.5], size=2.0, rng=np.random.default_rng(0))
    assert chain.matrix().shape == (2, 2, 2)
    assert overlap_limit(4.0, np.int8(1), 1, gamma=1, covariance=0) == pytest.approx(0.75)


def test_operators_may_work_in_place():
    def stretch(v):
        return np.multiply(v, [9.0, 4.0, 1.0], out=v)

    pairs = krylov(stretch, 2, dim=3, rng=0)
    np.testing.assert_allclose(pairs.eigenvalues, [9.0, 4.0])
    states = list(islice(power_iteration(stretch, np.ones(3)), 2))
    assert states[0].value == pytest.approx(14 / 3)
    np.testing.assert_allclose(next(subspace_iteration(stretch, np.eye(3)[:2])).values, [9.0, 4.0])
    basis = np.eye(3)
    np.testing.assert_allclose(operator_clock(stretch, [9.0, 4.0, 1.0], basis), 1.0)
    np.testing.assert_array_equal(basis, np.eye(3))


def test_a_clock_is_read_in_an_orthonormal_basis_only():
    with pytest.raises(ValueError, match="rows of basis are orthonormal up to"):
        operator_clock(np.diag([9.0, 4.0, 1.0]), [9.0, 4.0, 1.0], np.diag([1.0, 2.0, 3.0]))


@pytest.mark.parametrize(
    "call",
    [
        lambda bad: clock(bad, [4.0, 2.0, 1.0]),
        lambda bad: overlaps(bad[None], np.eye(3)[:1]),
        lambda bad: overlaps(np.eye(3)[:1], bad[None]),
        lambda bad: krylov(lambda v: bad * v, 1, dim=3, rng=0),
        lambda bad: list(sample(lambda y, s: 0 * y, bad[None], [2.0, 1.0])),
    ],
    ids=["clock", "overlaps", "reference", "operator", "state"],
)
@pytest.mark.parametrize(
    "bad", [np.ma.masked_equal([3.0, 2.0, 1.0], 2.0), np.array([1.0, 0.0, 1.0j])], ids=["mask", "i"]
)
def test_masks_and_imaginary_parts_are_refused_everywhere(call, bad):
    with pytest.raises(ValueError, match=r"mask|complex"):
        call(bad)


def test_what_is_not_finite_is_refused_at_the_border():
    with pytest.raises(ValueError, match="y contains nan"):
        next(sample(lambda y, s: 0 * y, np.array([[np.nan, 1.0]]), [2.0, 1.0]))

    class Broken:
        def gains(self, sigma):
            return np.array([1.0, np.nan])

    with pytest.raises(ValueError, match="gains of the denoiser is nan at index"):
        law(Broken(), [2.0, 1.0])
    with pytest.raises(ValueError, match="vectors and reference have shapes"):
        overlaps(np.ones(3), np.ones(3))


def test_data_without_variance_have_eigenvalues_of_zero():
    assert noisy_pca(np.ones((50, 9)), [1.0, 0.0], 1, rng=0).eigenvalues[1] == 0
    line = np.outer(np.random.default_rng(0).standard_normal(50), np.arange(40.0))
    values, basis = (part[1] for part in noisy_pca(line, [1.0, 0.0], 3, rng=0))
    assert (values >= 0).all()
    Gaussian(np.zeros(40), values, basis)


def test_weights_of_single_precision_are_probabilities():
    parts = [PLANE.model] * 3
    law_of_three = GaussianMixture(np.float32([0.1, 0.2, 0.7]), parts)
    assert law_of_three.weights.sum() == pytest.approx(1.0, abs=1e-15)
    with pytest.raises(ValueError, match=r"sum to 1, not to 1\.1"):
        GaussianMixture([0.1, 0.3, 0.7], parts)


def test_rows_give_the_network_its_own_copy_and_check_what_it_returns():
    for dtype in (np.float32, np.float64):
        y = np.ones((2, 16), dtype)
        halved = Rows(lambda y, s: y.mul_(0.5), (1, 4, 4))(y, 1.0)
        np.testing.assert_array_equal(y, 1.0)
        np.testing.assert_array_equal(halved, 0.5)
    channels_last = Rows(lambda y, s: y.permute(0, 2, 3, 1), (2, 1, 3))
    for y in (np.ones((1, 6)), torch.ones(1, 6)):
        with pytest.raises(ValueError, match="result of the denoiser has shape"):
            channels_last(y, 1.0)
    with pytest.raises(ValueError, match="batch is -1; expected"):
        Rows(lambda y, s: y, (1, 4, 4), batch=-1)(np.ones((2, 16)), 1.0)
    with pytest.raises(ValueError, match="mask"):
        Rows(lambda y, s: y, (3,))(np.ma.masked_equal([[3.0, 2.0, 1.0]], 2.0), 1.0)
    with pytest.raises(ValueError, match="result of the network has shape"):
        precondition(lambda x, noise: x[:, :1])(torch.ones(1, 2), 1.0)


def test_seeds_and_sizes_of_simulations_are_checked():
    for seed in (-1, 1.5, None):
        with pytest.raises(ValueError, match="seed is"):
            sweep(lambda cell, rng: cell, [1], seed=seed)
    assert sweep(lambda cell, rng: cell, iter([1, 2]), seed=0) == [1, 2]
    with pytest.raises(ValueError, match="degrees is -1"):
        wishart(3, -1, rng=0)
