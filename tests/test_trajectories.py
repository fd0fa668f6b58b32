"""Jacobians along a trajectory, against laws whose Jacobian is known."""

import itertools
import re

import numpy as np
import pytest
import torch

from lindiff.deep.records import Measurements, Trajectory, read_trajectory, write_trajectory
from lindiff.deep.trajectories import align, follow, measure
from lindiff.denoisers import LinearDenoiser
from lindiff.gaussian import Gaussian
from lindiff.mixtures import GaussianMixture
from lindiff.samplers import ancestral, ddim, ddpm, sample
from lindiff.subspaces import overlaps, principal_angles

SIGMAS = [8.0, 2.0, 0.5, 0.1, 0.0]
LAM = np.array([9.0, 4.0, 1.0, 0.25, 0.04])
Y = 8 * torch.from_numpy(np.random.default_rng(5).standard_normal(6))


@pytest.fixture
def law(random_law):
    return random_law(LAM, dim=6)


@pytest.fixture
def mixture(random_law):
    return GaussianMixture([0.3, 0.7], [random_law(LAM[:3], dim=6, seed=s) for s in (1, 2)])


def test_a_linear_denoiser_has_the_wiener_jacobian_all_along(law):
    path = follow(LinearDenoiser(law), Y, SIGMAS, 3, basis=law.basis, rng=np.random.default_rng(0))
    gains = LAM / (LAM + path.sigmas[:, None] ** 2)
    np.testing.assert_array_equal(path.sigmas, SIGMAS[:-1])
    np.testing.assert_allclose(path.eigenvalues, gains[:, :3], rtol=1e-5)  # tol squared
    np.testing.assert_allclose(path.gains, gains, rtol=1e-10)
    np.testing.assert_allclose(
        (path.eigenvectors @ law.basis[:3].T) ** 2, [np.eye(3)] * 4, atol=1e-3
    )
    assert abs(path.trace - gains.sum(axis=1)).max() < 5 * path.trace_error.max() + 1e-3
    assert path.asymmetry.max() < 1e-10
    assert (path.residuals <= 1e-3).all()


def test_the_eigenpairs_of_a_mixture_are_those_of_its_closed_form(mixture):
    path = follow(mixture, Y, SIGMAS, 2, tol=1e-6, rng=np.random.default_rng(0))
    for state, sigma, values, vectors in zip(
        path.states, path.sigmas, path.eigenvalues, path.eigenvectors, strict=True
    ):
        exact = np.linalg.eigvalsh(mixture.jacobian(state, sigma))
        np.testing.assert_allclose(values, exact[:-3:-1], atol=1e-6)
        residual = mixture.jacobian(state, sigma) @ vectors.T - vectors.T * values
        assert np.linalg.norm(residual) < 1e-5


def test_a_linear_denoiser_takes_the_step_rule_that_only_linear_ones_have(law):
    denoiser = LinearDenoiser(law)
    path = follow(denoiser, Y, SIGMAS, 1, step=ancestral, rng=np.random.default_rng(4))
    (noise, _) = np.random.default_rng(4).spawn(2)
    states = list(sample(denoiser, Y[None], SIGMAS, step=ancestral, rng=noise))
    np.testing.assert_array_equal(path.sample, states[-1].x[0].numpy())


@pytest.mark.parametrize("step", [ddim, ddpm])
def test_the_states_are_those_of_the_sampler_and_end_at_its_sample(mixture, step):
    path = follow(mixture, Y, SIGMAS, 1, step=step, rng=np.random.default_rng(4))
    (noise, _) = np.random.default_rng(4).spawn(2)
    states = list(sample(mixture, Y[None], SIGMAS, step=step, rng=noise))
    np.testing.assert_array_equal(path.states, [s.x[0].numpy() for s in states[:-1]])
    np.testing.assert_allclose(path.denoised, [s.denoised[0].numpy() for s in states[:-1]])
    np.testing.assert_array_equal(path.sample, states[-1].x[0].numpy())


def test_the_noise_of_the_sampler_does_not_depend_on_what_is_measured(mixture):
    one = follow(mixture, Y, SIGMAS, 1, step=ddpm, rng=np.random.default_rng(4))
    other = follow(
        mixture, Y, SIGMAS, 3, step=ddpm, at=[1, 3], n_probes=5, rng=np.random.default_rng(4)
    )
    np.testing.assert_array_equal(one.sample, other.sample)
    np.testing.assert_array_equal(one.states[[1, 3]], other.states)
    np.testing.assert_array_equal(other.sigmas, [2.0, 0.1])


def test_a_seed_stands_for_its_generator(mixture):
    seeds = (3, np.random.default_rng(3))
    one, other = (follow(mixture, Y, SIGMAS, 2, step=ddpm, rng=rng) for rng in seeds)
    for a, b in zip(one, other, strict=True):
        np.testing.assert_array_equal(a, b)


def matrix_denoiser(matrix):
    matrix = torch.from_numpy(matrix)
    return lambda y, sigma: (y.flatten(1) @ matrix.T).reshape(y.shape)


def test_trace_and_asymmetry_are_unbiased_within_their_errors(rng):
    matrix = rng.standard_normal((30, 30)) + np.diag(np.arange(30.0))
    z = []
    for seed in range(60):
        path = follow(
            matrix_denoiser(matrix),
            torch.ones(1, 5, 6).double(),
            [1.0, 0.0],
            4,
            n_probes=24,
            rng=np.random.default_rng(seed),
        )
        z.append((path.trace - np.trace(matrix)) / path.trace_error)
    # 60 standardised errors: mean 0 with error 0.13, variance 1 with error 0.2; four of each
    assert abs(np.mean(z)) < 0.55
    assert 0.3 < np.var(z) < 1.9
    ratio = np.linalg.norm(matrix - matrix.T) / np.linalg.norm(matrix)
    assert path.asymmetry[0] == pytest.approx(ratio, rel=0.15)  # 24 probes
    top = np.linalg.eigvalsh((matrix + matrix.T) / 2)[::-1][:4]
    np.testing.assert_allclose(path.eigenvalues[0], top, rtol=1e-4)
    assert path.eigenvectors.shape == (1, 4, 30)
    assert path.states.shape == (1, 1, 5, 6)


def test_a_schedule_that_ends_above_zero_is_measured_to_its_end(law):
    path = follow(LinearDenoiser(law), Y, [2.0, 1.0], 1)
    np.testing.assert_array_equal(path.sigmas, [2.0, 1.0])
    np.testing.assert_array_equal(path.sample, path.states[-1])


def test_a_network_keeps_its_state():
    network = torch.nn.Sequential(torch.nn.Linear(6, 6), torch.nn.Tanh()).double()
    follow(lambda y, sigma: network(y / sigma), Y, SIGMAS, 2)
    assert all(p.grad is None and p.requires_grad for p in network.parameters())


def test_a_denoiser_may_change_its_image_or_take_a_gradient_inside(law):
    wiener = LinearDenoiser(law)

    def in_place(y, sigma):
        return y.sub_(torch.from_numpy(law.mean)).mul_(0.5)

    def of_an_energy(y, sigma):
        energy = ((y - wiener(y, sigma)) * y).sum() / 2
        return y - torch.autograd.grad(energy, y, create_graph=True)[0]

    def plain(y, sigma):
        return (y - torch.from_numpy(law.mean)) * 0.5

    start = Y.clone()
    found, expected = follow(in_place, start, SIGMAS, 2), follow(plain, start, SIGMAS, 2)
    assert torch.equal(start, Y)
    np.testing.assert_array_equal(found.states, expected.states)
    np.testing.assert_allclose(found.eigenvalues, 0.5)
    # the gradient of half the quadratic form of a symmetric map is the map, up to its offset
    with torch.no_grad():
        path = follow(of_an_energy, start, SIGMAS, 2)
    np.testing.assert_allclose(
        path.eigenvalues, LAM[:2] / (LAM[:2] + path.sigmas[:, None] ** 2), 1e-5
    )


WRONG = {
    "a batch": (lambda law: follow(law, Y.reshape(1, 1, 2, 3), SIGMAS, 1), "pass y[0]"),
    "k above d": (lambda law: follow(law, Y, SIGMAS, 7), "k is 7; expected"),
    "one probe": (lambda law: follow(law, Y, SIGMAS, 1, n_probes=1), "n_probes is 1; expected"),
    "rising levels": (lambda law: follow(law, Y, [1.0, 2.0], 1), "sigmas goes from 1.0 to 2.0"),
    "a short basis": (
        lambda law: follow(law, Y, SIGMAS, 1, basis=np.eye(5)),
        "one row of basis has shape (5,); expected (6,)",
    ),
    "a long basis": (
        lambda law: follow(law, Y, SIGMAS, 1, basis=5 * np.eye(6)[:2]),
        "rows of basis are orthonormal up to 2.4e+01; expected at most 1e-6",
    ),
    "long vectors": (
        lambda law: overlaps(5 * np.eye(3)[:2], np.eye(3)[:2]),
        "rows of vectors are orthonormal up to 2.4e+01",
    ),
    "oblique references": (
        lambda law: overlaps([np.eye(2)] * 3, [[1, 0], [0.6, 0.8]]),
        "rows of reference are orthonormal up to 6.0e-01",
    ),
    "vectors of nan": (
        lambda law: overlaps(np.full((1, 2), np.nan), np.eye(2)[:1]),
        "rows of vectors are orthonormal up to nan",
    ),
    "the level zero": (lambda law: follow(law, Y, SIGMAS, 1, at=[4]), "place in at is 4; expected"),
    "no level": (lambda law: follow(law, Y, SIGMAS, 1, at=[]), "number of places in at is 0"),
    "no batch": (lambda law: measure(law, Y, 1.0, 1), "images[None]"),
    "no images": (lambda law: measure(law, Y[None][:0], 1.0, 1), "expected a batch of n >= 1"),
    "an array": (lambda law: measure(law, Y[None].numpy(), 1.0, 1), "of type ndarray and shape"),
    "too few levels": (
        lambda law: measure(law, Y.expand(3, 6), [1.0, 2.0], 1),
        "sigmas has shape (2,); expected (3,)",
    ),
    "level zero": (
        lambda law: measure(law, Y[None], [0.0], 1),
        "smallest of sigmas is 0.0; expected a finite number > 0",
    ),
    "a callback that is none": (
        lambda law: measure(law, Y[None], 1.0, 1, callback=3),
        "callback is 3; expected a function",
    ),
    "oblique directions": (
        lambda law: align([[[1, 0], [0.6, 0.8]]]),
        "rows of eigenvectors are orthonormal up to 6.0e-01",
    ),
    "half a seed": (lambda law: follow(law, Y, SIGMAS, 1, rng=0.5), "rng is 0.5; expected a numpy"),
    "other references": (
        lambda law: overlaps(np.eye(4)[:2], np.eye(4)[:3]),
        "reference has shape (3, 4); expected (2, 4)",
    ),
}


@pytest.mark.parametrize("case", WRONG)
def test_wrong_input_is_named_with_what_was_expected(mixture, case):
    call, message = WRONG[case]
    with pytest.raises(ValueError, match=re.escape(message)):
        call(mixture)


# ---------------------------------------------------------------- overlaps


def test_turned_vectors_of_one_space_differ_and_their_space_does_not(rng):
    basis = np.linalg.qr(rng.standard_normal((7, 3)))[0].T
    turn = np.array([[0.6, 0.8, 0], [-0.8, 0.6, 0], [0, 0, 1]])
    vector, subspace = overlaps(turn @ basis, basis)
    np.testing.assert_allclose(vector, [0.36, 0.36, 1])
    np.testing.assert_allclose(subspace, [0.36, 1, 1])


def test_random_directions_reach_the_level_of_chance(rng):
    frames = np.linalg.qr(rng.standard_normal((4000, 20, 3)))[0].swapaxes(1, 2)
    vector, subspace = overlaps(frames, np.eye(20)[:3])
    # a squared cosine has a variance below 2 / d^2
    assert abs(vector.mean(axis=0) - 1 / 20).max() < 4 * 2**0.5 / 20 / 4000**0.5
    assert abs(subspace.mean(axis=0) - np.arange(1, 4) / 20).max() < 0.005


def test_each_of_many_frames_may_have_its_own_reference(rng):
    frames = np.linalg.qr(rng.standard_normal((2, 5, 6, 3)))[0].swapaxes(2, 3)
    np.testing.assert_allclose(overlaps(frames, frames).subspace, np.ones((2, 5, 3)))
    one = overlaps(frames, frames[0, 0])
    np.testing.assert_allclose(one.vector[1, 4], ((frames[1, 4] * frames[0, 0]).sum(-1)) ** 2)


def test_the_space_overlap_is_the_mean_squared_cosine_of_the_principal_angles(rng):
    u, v = np.linalg.qr(rng.standard_normal((2, 9, 4)))[0].swapaxes(1, 2)
    expected = [(np.cos(principal_angles(u[:i], v[:i])) ** 2).mean() for i in (1, 2, 3, 4)]
    np.testing.assert_allclose(overlaps(u, v).subspace, expected)


def test_a_gaussian_mixture_of_one_is_a_gaussian(law):
    one = follow(GaussianMixture([1.0], [law]), Y, SIGMAS, 2)
    other = follow(LinearDenoiser(Gaussian(law.mean, law.eigenvalues, law.basis)), Y, SIGMAS, 2)
    np.testing.assert_allclose(one.eigenvalues, other.eigenvalues, rtol=1e-6)
    np.testing.assert_allclose(one.states, other.states, rtol=1e-9)


def test_the_error_of_the_trace_is_its_spread_over_repetitions():
    matrix = torch.tensor([[3.0, 0.5, 0.2], [0.5, 1.0, 0.7], [0.2, 0.7, 1.0]]).double()
    paths = [
        follow(
            lambda y, s: y @ matrix,
            torch.ones(3).double(),
            [1.0, 0.0],
            1,
            n_probes=2,
            rng=np.random.default_rng(k),
        )
        for k in range(300)
    ]
    values, errors = (np.array([getattr(p, n)[0] for p in paths]) for n in ("trace", "trace_error"))
    # 300 squares of standard errors from two probes: their mean is good to about 10 %
    assert (errors**2).mean() / values.var(ddof=1) == pytest.approx(1, abs=0.3)


# ---------------------------------------------------------------- given images


def test_measuring_at_the_states_of_a_trajectory_finds_what_it_found(mixture):
    path = follow(mixture, Y, SIGMAS, 2, basis=np.eye(6)[:3], tol=1e-6, rng=0)
    states = torch.from_numpy(path.states)
    found = measure(mixture, states, path.sigmas, 2, basis=np.eye(6)[:3], tol=1e-6, rng=1)
    assert Trajectory._fields == (*Measurements._fields, "sample")
    for name in ("sigmas", "states", "denoised", "gains"):
        np.testing.assert_array_equal(getattr(found, name), getattr(path, name))
    np.testing.assert_allclose(found.eigenvalues, path.eigenvalues, atol=1e-6)
    for vectors, others in zip(found.eigenvectors, path.eigenvectors, strict=True):
        np.testing.assert_allclose((vectors @ others.T) ** 2, np.eye(2), atol=1e-4)
    assert found.asymmetry.max() < 1e-10


@pytest.mark.parametrize("shape", [(6,), (2, 3), (3, 2, 1), (3, 1, 2)])
def test_images_in_any_form_have_one_level_each_or_all_the_same(law, shape):
    wiener = LinearDenoiser(law)

    def denoiser(y, sigma):
        assert y.shape == (1, *shape)
        return wiener(y.flatten(1), sigma).reshape(y.shape)

    images = torch.from_numpy(np.random.default_rng(0).standard_normal((3, *shape)))
    levels = np.array([0.5, 8.0, 0.1])
    each = measure(denoiser, images, levels, 2, rng=0)
    np.testing.assert_allclose(
        each.eigenvalues, LAM[:2] / (LAM[:2] + levels[:, None] ** 2), rtol=1e-5
    )
    assert each.states.shape == each.denoised.shape == (3, *shape)
    same = measure(denoiser, images, 0.5, 2, rng=0)
    np.testing.assert_array_equal(same.sigmas, [0.5] * 3)
    np.testing.assert_allclose(same.eigenvalues, each.eigenvalues[[0] * 3], rtol=1e-5)


# ---------------------------------------------------------------- bar, callback, file


@pytest.mark.parametrize("progress", [None, True, False])
def test_a_bar_is_shown_when_asked_for_and_not_off_a_terminal(mixture, capfd, progress):
    follow(mixture, Y, SIGMAS, 1, progress=progress)
    measure(mixture, Y[None], 1.0, 1, progress=progress)
    shown = capfd.readouterr().err
    assert ("levels" in shown, "images" in shown) == (bool(progress),) * 2


class Stop(Exception):
    """Stands for whatever interrupts a call."""


def stopping(levels):
    """Return a callback that stops after some rows."""

    def callback(done):
        if len(done.sigmas) == levels:
            raise Stop

    return callback


CALLS = {
    "follow": lambda law, **o: follow(law, Y, SIGMAS, 2, step=ddpm, basis=np.eye(6)[:2], **o),
    "measure": lambda law, **o: measure(law, Y + torch.arange(4.0)[:, None], 0.5, 2, **o),
}


@pytest.mark.parametrize("done", [1, 3, 4])
@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
def test_an_interrupted_call_goes_on_where_it_was(mixture, tmp_path, call, done):
    whole, file = call(mixture, rng=7), tmp_path / "path.npz"
    rows = []
    with pytest.raises(Stop):
        call(mixture, rng=7, save=file, callback=stopping(done))
    with pytest.raises(ValueError, match="is the state of an unfinished call; to end that"):
        read_trajectory(f"{file}.partial")
    found = call(mixture, rng=7, save=file, callback=lambda part: rows.append(len(part.sigmas)))
    assert rows == list(range(done + 1, 5))
    assert [p.name for p in tmp_path.iterdir()] == ["path.npz"]
    stored = read_trajectory(file)
    assert type(stored) is type(whole)
    for a, b, c in zip(whole, found, stored, strict=True):
        np.testing.assert_array_equal(a, b)
        np.testing.assert_array_equal(a, c)


def test_a_call_without_a_seed_goes_on_with_its_own_noise(mixture, tmp_path):
    file, seen = tmp_path / "path.npz", []
    with pytest.raises(Stop):
        CALLS["follow"](mixture, save=file, callback=stopping(2))
    left = np.load(f"{file}.partial")["states"]
    path = CALLS["follow"](mixture, save=file, callback=seen.append)
    np.testing.assert_array_equal(path.states[:2], left)
    again = CALLS["follow"](mixture, save=file)  # a complete file is no state to go on from
    assert not np.array_equal(again.states[1], path.states[1])


def test_a_callback_sees_each_row_when_it_is_stored(mixture, tmp_path):
    seen = []

    def callback(done):
        stored = np.load(tmp_path / "a.npz.partial")["eigenvalues"]
        np.testing.assert_array_equal(stored, done.eigenvalues)
        seen.append(done)

    path = follow(mixture, Y, SIGMAS, 1, rng=0, save=tmp_path / "a.npz", callback=callback)
    assert [len(done.trace) for done in seen] == [1, 2, 3, 4]
    np.testing.assert_array_equal(seen[-1].trace, path.trace)


OTHER = {
    "y": lambda law, **o: follow(law, Y + 1, SIGMAS, 2, rng=0, **o),
    "sigmas": lambda law, **o: follow(law, Y, [8.0, 1.0, 0.0], 2, rng=0, **o),
    "k": lambda law, **o: follow(law, Y, SIGMAS, 3, rng=0, **o),
    "at": lambda law, **o: follow(law, Y, SIGMAS, 2, at=[0, 1], rng=0, **o),
    "step": lambda law, **o: follow(law, Y, SIGMAS, 2, step=ddim, rng=0, **o),
    "basis": lambda law, **o: follow(law, Y, SIGMAS, 2, basis=np.eye(6)[:1], rng=0, **o),
    "n_probes": lambda law, **o: follow(law, Y, SIGMAS, 2, n_probes=3, rng=0, **o),
    "tol": lambda law, **o: follow(law, Y, SIGMAS, 2, tol=0.1, rng=0, **o),
    "rng": lambda law, **o: follow(law, Y, SIGMAS, 2, rng=1, **o),
    "call": lambda law, **o: measure(law, Y[None], 1.0, 2, rng=0, **o),
    "denoiser": lambda law, **o: follow(lambda y, s: 0.9 * law(y, s), Y, SIGMAS, 2, rng=0, **o),
}


@pytest.mark.parametrize("name", OTHER)
def test_what_another_call_left_is_refused_by_name_and_left_alone(mixture, tmp_path, name):
    file = tmp_path / "path.npz"
    with pytest.raises(Stop):
        follow(mixture, Y, SIGMAS, 2, rng=0, save=file, callback=stopping(2))
    before = (tmp_path / "path.npz.partial").read_bytes()
    with pytest.raises(
        ValueError, match=f"path.npz.partial was left by a call with another {name}"
    ):
        OTHER[name](mixture, save=file)
    assert [p.name for p in tmp_path.iterdir()] == ["path.npz.partial"]
    assert (tmp_path / "path.npz.partial").read_bytes() == before


def test_files_that_hold_no_trajectory_are_refused(mixture, tmp_path):
    path = measure(mixture, Y[None], 1.0, 1)
    good, bad = tmp_path / "good.npz", tmp_path / "bad.npz"
    write_trajectory(good, path)
    bad.write_bytes(good.read_bytes()[:-100])
    with pytest.raises(ValueError, match=r"bad.npz is damaged .* replace it by a good copy"):
        read_trajectory(bad)
    np.savez(bad, sigmas=path.sigmas)
    with pytest.raises(ValueError, match=r"bad.npz does not hold a trajectory"):
        read_trajectory(bad)
    bad.rename(tmp_path / "new.npz.partial")
    with pytest.raises(ValueError, match="is not the state of an unfinished call; delete it"):
        measure(mixture, Y[None], 1.0, 1, save=tmp_path / "new.npz")
    with pytest.raises(FileNotFoundError):
        read_trajectory(tmp_path / "none.npz")
    with pytest.raises(ValueError, match="expected a file in an existing folder"):
        measure(mixture, Y[None], 1.0, 1, save=tmp_path / "none" / "a.npz")
    with pytest.raises(ValueError, match="trajectory is 3; expected a Trajectory or Measurements"):
        write_trajectory(good, 3)


# ---------------------------------------------------------------- directions from level to level


def test_directions_are_followed_through_a_crossing(rng):
    basis = np.linalg.qr(rng.standard_normal((8, 3)))[0].T
    values = np.array([[0.9, 0.8 - 0.1 * t, 0.5 + 0.1 * t] for t in range(4)])
    order = np.argsort(-values, axis=1)
    signs = rng.choice([-1.0, 1.0], (4, 3, 1))
    rotated = basis[order] * signs
    aligned = align(rotated)
    np.testing.assert_allclose(aligned.eigenvectors, [rotated[0]] * 4)
    given = np.take_along_axis(values, order, axis=1)
    np.testing.assert_allclose(np.take_along_axis(given, aligned.order, axis=1), values)
    np.testing.assert_allclose(aligned.overlap, 1)


def test_the_assignment_is_the_best_of_all_and_says_what_was_lost(rng):
    frames = np.linalg.qr(rng.standard_normal((6, 9, 3)))[0].swapaxes(1, 2)
    aligned = align(frames)
    for t in range(1, 6):
        squares = (aligned.eigenvectors[t - 1] @ frames[t].T) ** 2
        best = max(squares[range(3), list(p)].sum() for p in itertools.permutations(range(3)))
        assert aligned.overlap[t].sum() == pytest.approx(best)
        cosines = (aligned.eigenvectors[t] * aligned.eigenvectors[t - 1]).sum(axis=1)
        np.testing.assert_allclose(aligned.overlap[t], cosines**2)
        assert (cosines >= 0).all()
    lost = align([np.eye(3)[:2], np.eye(3)[1:]])
    np.testing.assert_array_equal(lost.order, [[0, 1], [1, 0]])
    np.testing.assert_array_equal(lost.overlap, [[1, 1], [0, 1]])


def test_the_check_can_be_left_out_and_vectors_go_one_by_one():
    def cut(y, sigma):  # the graph misses half of the derivative
        return (y + y.detach()) / 2 / (1 + sigma**2)

    y = torch.ones(1, 6)
    with pytest.raises(ValueError, match="not that of the denoiser"):
        measure(cut, y, 1.0, 1)
    found = measure(cut, y, 1.0, 1, check=False, chunk=1)
    np.testing.assert_allclose(found.eigenvalues, 0.25, rtol=1e-6)
    path = follow(cut, y[0], [1.0, 0.0], 1, check=False, chunk=1)
    np.testing.assert_allclose(path.eigenvalues, 0.25, rtol=1e-6)
    with pytest.raises(ValueError, match="chunk is 0"):
        measure(cut, y, 1.0, 1, check=False, chunk=0)
