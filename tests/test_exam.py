"""The exam: points and minutes add up, and the package agrees with the model answers."""

import re
from itertools import islice
from pathlib import Path

import numpy as np
import pytest

from lindiff import (
    Gaussian,
    GaussianMixture,
    LinearDenoiser,
    alignment_limit,
    chain_limits,
    ddim,
    denoiser_risk,
    geometric,
    law,
    mixing,
    power_iteration,
    sampler_clock,
    wiener,
)

PAGE = (Path(__file__).parents[1] / "book" / "teaching" / "exam.md").read_text(encoding="utf-8")
QUESTION = re.compile(
    r"^## (?P<number>\d+)\. [^\n]+ \((?P<points>\d+) points, (?P<minutes>\d+) minutes\)\n"
    r"(?P<text>.+?)^::::\{dropdown\} Model answer\n(?P<answer>.+?)^::::$",
    re.M | re.S,
)
QUESTIONS = {int(one["number"]): one for one in QUESTION.finditer(PAGE)}


def says(number, *texts):
    """Whether the model answer of a question has all of these texts, in this order."""
    return re.search(".*".join(map(re.escape, texts)), QUESTIONS[number]["answer"], re.S)


def modes(*eigenvalues):
    """Wiener's denoiser of a Gaussian with these eigenvalues, about zero."""
    return LinearDenoiser(
        Gaussian(np.zeros(len(eigenvalues)), eigenvalues, np.eye(len(eigenvalues)))
    )


def test_ten_questions_take_two_hours_and_give_eighty_points():
    assert list(QUESTIONS) == list(range(1, 11)) and PAGE.count("\n## ") == 10
    assert sum(int(one["minutes"]) for one in QUESTIONS.values()) == 120
    assert sum(int(one["points"]) for one in QUESTIONS.values()) == 80


@pytest.mark.parametrize("number", range(1, 11))
def test_the_steps_of_an_answer_add_up_to_the_points_of_its_question(number):
    steps = re.findall(r"\*\((\d) points?\)\*", QUESTIONS[number]["answer"])
    assert sum(map(int, steps)) == int(QUESTIONS[number]["points"])


@pytest.mark.parametrize("number", range(1, 11))
def test_every_part_of_a_question_has_an_answer(number):
    parts = [re.findall(r"^\((\w)\)", QUESTIONS[number][side], re.M) for side in ("text", "answer")]
    assert parts[0] == parts[1] and parts[0][0] == "a"


def test_question_1_excess_error_of_a_wrong_noise_level():
    def excess(lam, believed):
        right, used = lam / (lam + 1), lam / (lam + believed)
        return (used - right) ** 2 * (lam + 1)

    found = {}
    for lam in (1, 9, 1 / 9):
        for believed in (4, 0.25):
            mode = Gaussian([0.0], [lam], np.eye(1))
            risks = [denoiser_risk(mode, [[lam / (lam + v)]], 1.0) for v in (believed, 1)]
            found[lam, believed] = risks[0] - risks[1]
            assert excess(lam, believed) == pytest.approx(found[lam, believed], abs=1e-12)
    assert found[1, 4] == pytest.approx(0.18) and found[1, 0.25] == pytest.approx(0.18)
    assert says(1, "=0.18", f"{found[9, 4]:.3f}", f"{found[9, 0.25]:.3f}")
    assert found[9, 4] / found[9, 0.25] == pytest.approx(8, abs=0.5) and says(1, "eight times")
    assert says(1, f"{found[1 / 9, 4]:.3f} and {found[1 / 9, 0.25]:.3f}")


def test_question_2_what_a_quotient_tells_of_the_angle(rng):
    lam = np.array([1.0, 0.9, 0.5, 0.2])
    for v in rng.standard_normal((100, 4)):
        v /= np.linalg.norm(v)
        assert lam[0] - v @ (lam * v) >= (lam[0] - lam[1]) * (1 - v[0] ** 2) - 1e-12
    edge = np.array([1, 1e-3, 0, 0]) / np.hypot(1, 1e-3)  # the bound is sharp in this plane
    assert lam[0] - edge @ (lam * edge) == pytest.approx(0.1 * edge[1] ** 2, rel=1e-6)
    sine = np.sqrt(1e-6 / (lam[0] - lam[1]))
    assert says(2, f"{sine:.4f}", "0.2 degrees") and 0.1 < np.degrees(np.arcsin(sine)) < 0.2
    ends = []
    for start in rng.standard_normal((3, 4)):
        *_, end = islice(power_iteration(np.diag([1, 1, 0.5, 0.2]), start), 60)
        ends.append(end)
    assert np.ptp([end.value for end in ends]) < 1e-10
    assert np.ptp([abs(end.vector[0]) for end in ends]) > 0.1


@pytest.mark.parametrize(
    ("lam", "gains", "share"), [(1, (1 / 2, 3 / 4), 9 / 16), (3, (2 / 3, 9 / 10), 0.72)]
)
def test_question_3_two_steps_of_ddim_by_hand(lam, gains, share):
    levels = np.array([3**0.5, 3**-0.5, 0])
    assert [(lam + a * b) / (lam + a**2) for a, b in ((levels[0], levels[1]), (levels[1], 0))] == (
        pytest.approx(gains)
    )
    angles = np.arctan(levels / np.sqrt(lam))
    made = law(modes(lam), levels, step=ddim, start=[lam + 3]).variance[-1, 0]
    assert made / lam == pytest.approx(share)
    assert np.prod(np.cos(np.diff(angles)) ** 2) == pytest.approx(share)
    assert says(3, r"\frac9{16}", "=2.16$, a share of 0.72")
    middle = np.linspace(0.05, 1.7, 2000)
    turns = np.arctan(np.stack([0 * middle + levels[0], middle, 0 * middle]) / np.sqrt(lam))
    kept = np.prod(np.cos(np.diff(turns, axis=0)) ** 2, axis=0)
    best = np.sqrt(lam) * np.tan(angles[0] / 2)
    assert middle[kept.argmax()] == pytest.approx(best, abs=1e-3)
    if lam == 3:
        assert says(3, f"{kept.max():.3f}", f"{best:.3f}")
    else:
        assert best == pytest.approx(levels[1])


def test_question_4_the_shade_of_two_and_three_steps():
    def curve(sigma):
        return 1 - np.log((20 + sigma**2) / (5 + sigma**2)) / np.log(20 / 5)

    for n_steps, text in ((2, "two steps the worth is {:.2f}"), (3, "three it is {:.2f}")):
        levels = geometric(n_steps, 0.002, 80)
        k = (curve(levels[:-1]) - curve(np.sqrt(levels[:-1] * levels[1:]))).sum()
        assert k == pytest.approx(sampler_clock(modes(20, 5), levels)[-1, 0])
        assert text.format(k) in QUESTIONS[4]["text"]
    assert np.sqrt(80 * 0.002) == pytest.approx(0.4) and f"{np.sqrt(80 * 0.4):.1f}" == "5.7"
    assert says(4, "5.7", f"at {curve(np.sqrt(80 * 0.4)):.2f}") and curve(0.4) < 0.02
    variances = law(modes(20, 5), geometric(2, 0.002, 80), start=[6400, 6400]).variance[-1]
    assert round(variances[0] / variances[1]) == 15 == round(4**1.96) and says(4, r"\approx15")


def test_question_5_fewer_and_cleaner_pictures_align_better():
    def aligned(k, ell, gamma):
        return (1 - gamma / (k * ell**2)) / (1 + gamma / ell)

    for ell, gamma in ((1.0, 1.0), (0.5, 0.2), (3.0, 4.0)):
        for k in (1, 2, 4, 1000):
            c2 = alignment_limit(ell, k**-0.5, k * gamma)
            assert c2 == pytest.approx(max(aligned(k, ell, gamma), 0), abs=1e-12)
            assert (c2 > 1e-12) == (k * ell**2 > gamma * (1 + 1e-12))
    three = [f"{alignment_limit(1.0, k**-0.5, k):.3g}" for k in (1, 2, 4)]
    assert says(5, f"{', '.join(three)}, and in the limit {aligned(np.inf, 1, 1)}")


def test_question_6_noise_takes_weight_and_neighbours_take_weight():
    assert alignment_limit(3.0, 1.0, 0.5) == pytest.approx(17 / 21) and f"{17 / 21:.2f}" == "0.81"
    noisy, clean = (mixing([3.0, 2.0], sigma, 1000, 0.5)[0, 1] for sigma in (1.0, 1e-6))
    assert noisy == pytest.approx(1 / (1 + 1 / 6) * 4 * 3 / (1000 * (3 - 2) ** 2))
    assert clean == pytest.approx(3 * 2 / (1000 * (3 - 2) ** 2))
    assert says(6, "17}{21}=0.81", f"={noisy:.4f}", f"={clean:.3f}")
    assert alignment_limit(3.0, 1e-6, 0.5) == pytest.approx(1)


def test_question_7_shift_invariant_data_have_a_circulant_mean(rng):
    def projection(y):
        vectors = np.linalg.eigh(y.T @ y)[1][:, -3:]
        return vectors @ vectors.T

    def coupling(a):
        """Largest entry that couples two waves, and the entries of all waves."""
        seen = waves.conj().T @ a @ waves
        return np.abs(seen - np.diag(np.diag(seen))).max(), np.diag(seen)

    shift = np.roll(np.eye(6), 1, axis=1)
    waves = np.exp(2j * np.pi * np.outer(np.arange(6), np.arange(6)) / 6) / np.sqrt(6)
    levels = rng.standard_normal((2, 5, 6)) + 1  # two levels, and the mean left in
    chain, single = np.zeros((6, 6)), np.zeros((6, 6))
    for _ in range(6):  # all shifts of these images are equally likely
        high, low = (projection(y) for y in levels)
        chain += high @ low / 6
        single += high / 6
        levels = levels @ shift
        np.testing.assert_allclose(projection(levels[0]), shift.T @ high @ shift, atol=1e-12)
    np.testing.assert_allclose(shift.T @ chain @ shift, chain, atol=1e-12)
    assert coupling(chain)[0] < 1e-12
    entries = coupling(single)[1]
    np.testing.assert_allclose(entries[1:], entries[:0:-1], atol=1e-12)  # one and its mirror image
    assert coupling(high)[0] > 0.01  # one data set alone does couple waves


def test_question_8_a_run_ends_at_its_last_estimate():
    for lam in (4.0, 2.0):
        for sigma in (0.2, 1.0, 1.3):
            assert alignment_limit(lam, sigma, 1.0) == pytest.approx(1 - sigma**2 / lam)
    assert says(8, r"1-\frac14=0.75", r"\sigma^2=0.4$, $\sigma=0.63")
    for last, height in ((1.0, 0.75), (0.4**0.5, 0.9)):
        levels = np.append(np.geomspace(1.2, 1.0, 60), last * 0.9999)
        squares = chain_limits([4.0, 2.0], levels, 1.0).singular_values ** 2
        share = alignment_limit(4.0, levels[-1], 1.0) * squares[0] / squares.sum()
        assert share == pytest.approx(height, abs=1e-3)


def test_question_9_the_error_falls_like_the_noise_level():
    n = 512
    component = np.fft.fftfreq(n)
    frequency = np.sort(np.hypot(component[:, None], component).ravel())[1:]
    errors = []
    for sigma in (1.0, 0.5):
        power = 0.04**4  # the front is at 0.04 and 0.057 cycles per pixel
        lam = power * frequency**-4
        each = sigma**2 * wiener(lam, sigma)
        errors.append(each.sum())
        # two per cent: the highest frequency is finite, the lowest is not zero
        assert each.sum() == pytest.approx(np.pi**2 / 2 * n**2 * power**0.5 * sigma, rel=0.02)
        front = (power / sigma**2) ** 0.25
        believed = (lam > sigma**2).sum()
        assert believed == pytest.approx(np.pi * n**2 * front**2, rel=0.02)
        assert each[frequency > front].sum() / each.sum() == pytest.approx(1 / 2, abs=0.01)
        projected = np.minimum(lam, sigma**2).sum()
        assert projected / each.sum() == pytest.approx(4 / np.pi, rel=0.01)
    assert errors[0] / errors[1] == pytest.approx(2, rel=0.02)
    assert says(9, r"\tfrac12\pi^2n^2\sigma^2f^{\ast2}", "one half", rf"$4/\pi={4 / np.pi:.2f}$")


def test_question_10_which_jacobians_belong_to_an_optimal_denoiser():
    variance = 0.2**2
    points = [
        Gaussian(np.array([a, 0.0]), [variance / 4], np.array([[0.0, 1.0]]))
        for a in (-((1.3 * variance) ** 0.5), (1.3 * variance) ** 0.5)
    ]
    found = GaussianMixture([0.5, 0.5], points).jacobian(np.zeros(2), 0.2)
    np.testing.assert_allclose(found, np.diag([1.3, 0.2]), atol=1e-12)
    second = np.array([[0.9, 0.3], [0.1, 0.5]])
    low, high = np.linalg.eigvalsh((second + second.T) / 2)
    bound = np.linalg.norm((second - second.T) / 2)
    assert says(10, f"{high:.2f} and {low:.2f}", rf"\sqrt2={bound:.2f}", "it is 0.2")
    assert says(10, f"={0.2 * 1.3**0.5:.3f}$, wider")
    assert "1.4" in QUESTIONS[10]["text"] and f"{1.4 * variance:.3f}" in QUESTIONS[10]["text"]
