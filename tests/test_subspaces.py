"""Squared cosines, principal angles and signs."""

import re

import numpy as np
import pytest
import scipy.linalg
from hypothesis import given
from hypothesis import strategies as st

from lindiff.subspaces import align_signs, alignment, principal_angles


def rotation(dim, seed):
    return np.linalg.qr(np.random.default_rng(seed).standard_normal((dim, dim)))[0]


def test_alignment_is_the_squared_cosine(rng):
    u, v = rng.standard_normal((2, 6))
    cosine = np.dot(u, v) / np.linalg.norm(u) / np.linalg.norm(v)
    assert alignment(u, v) == pytest.approx(cosine**2, rel=1e-12)


def test_alignment_broadcasts_to_a_table_of_overlaps(rng):
    u, v = rng.standard_normal((3, 6)), rng.standard_normal((4, 6))
    table = alignment(u[:, None], v)
    assert table.shape == (3, 4)
    assert table[2, 1] == pytest.approx(float(alignment(u[2], v[1])))


@given(
    dim=st.integers(1, 8),
    seed=st.integers(0, 99),
    scale=st.sampled_from([-1e8, -1.0, 1e-8, 3.0]),
)
def test_alignment_sees_neither_scale_nor_sign_nor_rotation(dim, seed, scale):
    u, v = np.random.default_rng(seed).standard_normal((2, dim))
    turn = rotation(dim, seed + 1)
    value = alignment(u, v)
    assert 0 <= value <= 1
    np.testing.assert_allclose(alignment(scale * u, v), value, rtol=1e-9, atol=1e-15)
    np.testing.assert_allclose(alignment(turn @ u, turn @ v), value, rtol=1e-9, atol=1e-15)
    assert alignment(u, scale * u) == pytest.approx(1)


def test_alignments_with_an_orthonormal_basis_add_up_to_one(rng):
    assert alignment(rotation(7, 3), rng.standard_normal(7)).sum() == pytest.approx(1)


@pytest.mark.parametrize(("k", "m"), [(1, 1), (2, 3), (3, 2), (6, 2)])
def test_principal_angles_are_those_of_scipy_and_of_the_overlap_matrix(rng, k, m):
    u, v = rng.standard_normal((k, 6)), rng.standard_normal((m, 6))
    angles = principal_angles(u, v)
    assert angles.shape == (min(k, m),)
    assert (np.diff(angles) >= 0).all()
    np.testing.assert_allclose(angles, np.sort(scipy.linalg.subspace_angles(u.T, v.T)), rtol=1e-12)
    overlap = scipy.linalg.orth(u.T).T @ scipy.linalg.orth(v.T)
    cosines = np.linalg.svd(overlap, compute_uv=False).clip(max=1)
    # an arc cosine near 1 keeps half of the digits
    np.testing.assert_allclose(angles, np.arccos(cosines), atol=1e-7)


def test_principal_angles_do_not_see_the_basis_of_either_space(rng):
    u, v = rng.standard_normal((2, 6)), rng.standard_normal((3, 6))
    mixed = principal_angles(rng.standard_normal((2, 2)) @ u, rng.standard_normal((3, 3)) @ v)
    np.testing.assert_allclose(mixed, principal_angles(u, v), rtol=1e-9)


def test_principal_angles_are_invariant_under_rotation(rng):
    u, v, turn = rng.standard_normal((2, 6)), rng.standard_normal((3, 6)), rotation(6, 1)
    np.testing.assert_allclose(principal_angles(u @ turn, v @ turn), principal_angles(u, v))


def test_principal_angles_are_zero_inside_and_right_outside():
    frame = rotation(5, 2)
    np.testing.assert_allclose(principal_angles(frame[:3], frame[1:3]), [0, 0], atol=1e-12)
    np.testing.assert_allclose(principal_angles(frame[:2], frame[2:]), [np.pi / 2] * 2)


def test_squared_cosines_of_principal_angles_are_the_trace_of_the_two_projections(rng):
    u, v = rotation(6, 1)[:2], rotation(6, 2)[:3]
    trace = np.trace(u.T @ u @ v.T @ v)
    assert (np.cos(principal_angles(u, v)) ** 2).sum() == pytest.approx(trace)


def test_the_angle_of_two_lines_is_the_arc_cosine_of_their_alignment(rng):
    u, v = rng.standard_normal((2, 4))
    angle = principal_angles(u[None], v[None])[0]
    assert np.cos(angle) ** 2 == pytest.approx(float(alignment(u, v)))


@given(k=st.integers(1, 5), dim=st.integers(1, 5), seed=st.integers(0, 99))
def test_aligned_signs_change_only_signs_and_leave_no_negative_product(k, dim, seed):
    v, reference = np.random.default_rng(seed).standard_normal((2, k, dim))
    aligned = align_signs(v, reference)
    np.testing.assert_array_equal(np.abs(aligned), np.abs(v))
    assert ((aligned * reference).sum(axis=1) >= 0).all()
    np.testing.assert_array_equal(align_signs(-v, reference), aligned)


def test_a_row_orthogonal_to_its_reference_is_left_alone():
    np.testing.assert_array_equal(align_signs([[0.0, -1.0]], [[1.0, 0.0]]), [[0.0, -1.0]])


WRONG = {
    "unequal lengths": (
        lambda: alignment([1.0, 0.0], [1.0]),
        "u and v have shapes (2,) and (1,); expected equal last axes",
    ),
    "scalars": (lambda: alignment(1.0, 1.0), "u and v have shapes () and ()"),
    "a zero vector": (lambda: alignment([0.0, 0.0], [1.0, 0.0]), "expected finite, non-zero"),
    "nan in a vector": (lambda: alignment([np.nan, 1.0], [1.0, 0.0]), "|u|^2 |v|^2 is nan"),
    "complex vectors": (lambda: alignment([1j, 1.0], [1.0, 0.0]), "u is not an array of numbers"),
    "many zero vectors": (
        lambda: alignment(np.zeros((900, 2)), np.ones(2)),
        "|u|^2 |v|^2 is of type ndarray and shape (900,); expected finite, non-zero",
    ),
    "angles of a vector": (
        lambda: principal_angles([1.0, 0.0], [[1.0, 0.0]]),
        "u has shape (2,); expected 2 dimension",
    ),
    "angles across dimensions": (
        lambda: principal_angles(np.eye(2), np.eye(3)),
        "u and v have shapes (2, 2) and (3, 3); expected equal last axes",
    ),
    "angles with nan": (
        lambda: principal_angles(np.eye(2), [[np.nan, 0.0]]),
        "v is nan at index [0, 0]; expected finite",
    ),
    "signs of another shape": (
        lambda: align_signs(np.eye(2), np.eye(2)[:1]),
        "reference has shape (1, 2); expected (2, 2)",
    ),
    "signs with nan": (
        lambda: align_signs([[np.inf]], [[1.0]]),
        "v is inf at index [0, 0]; expected finite",
    ),
}


@pytest.mark.parametrize("case", WRONG)
def test_wrong_input_is_named_with_what_was_expected(case):
    call, message = WRONG[case]
    with pytest.raises(ValueError, match=re.escape(message)):
        call()


@pytest.mark.parametrize("u", [np.zeros((1, 3)), np.array([[1.0, 0, 0], [2.0, 0, 0]])])
def test_dependent_rows_have_no_principal_angles(u):
    with pytest.raises(ValueError, match="u "):
        principal_angles(u, np.eye(3)[:2])


def test_a_row_is_flipped_as_a_whole():
    flipped = align_signs([[1.0, -2.0], [1.0, 2.0]], [[1.0, 1.0], [-1.0, 1.0]])
    assert flipped.tolist() == [[-1.0, 2.0], [1.0, 2.0]]
