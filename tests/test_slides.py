"""Numbers on slides that no chapter has, computed here."""

from pathlib import Path

import decks
import numpy as np
import pytest

DECKS = {deck.name: deck for deck in decks.read_all(Path(__file__).parents[1])}


def words(name):
    """Return the text and the notes of a deck."""
    return "\n".join(slide.text + "\n" + slide.note for slide in DECKS[name].slides)


def angles(variances, runs=20_000, samples=60):
    """Angles in degrees between the first axis and the one estimated from clean samples."""
    rng = np.random.default_rng(4)
    x = rng.standard_normal((runs, samples, 2)) * np.sqrt(variances)
    first = np.linalg.eigh(x.swapaxes(1, 2) @ x)[1][:, :, -1]
    return np.degrees(np.arccos(np.clip(np.abs(first[:, 0]), 0, 1)))


def test_session_4_says_how_far_the_first_axis_is_off():
    text = words("session-4")
    close, apart = angles((4, 3)), angles((4, 1))
    assert "in about one data set in four it is off by more than thirty degrees" in text
    assert 0.22 < np.mean(close > 30) < 0.3
    assert "The median error is 17 degrees" in text
    assert 16.5 < np.median(close) < 17.5
    assert "nineteen data sets in twenty are within ten degrees" in text
    assert 0.94 < np.mean(apart < 10) < 0.96
    assert "for 4 and 3 fewer than one in three are" in text
    assert np.mean(close < 10) < 1 / 3


@pytest.mark.parametrize("case", ["skewed", "mean left in", "flips allowed"])
def test_session_5_has_two_cases_in_which_the_flip_fails(case):
    """One level, sigma = 0.5, ten images, one direction kept; no mean is subtracted."""
    rng = np.random.default_rng(5)
    e = rng.exponential(size=(20_000, 10)) - 1
    normal = rng.standard_normal((*e.shape, 3)) * [2.0, 1.0, 0.0]
    x = {
        "skewed": np.stack([2 * e, (e**2 - 2 * e - 1) / 2, 0 * e], axis=2),
        "mean left in": normal + np.array([1.0, 1.0, 0.0]),
        "flips allowed": normal,
    }[case]
    y = x + 0.5 * rng.standard_normal(x.shape)
    u = np.linalg.eigh(y.swapaxes(1, 2) @ y)[1][:, :, -1]
    entry = u[:, 0] * u[:, 1]
    error = entry.std() / np.sqrt(len(entry))
    if case == "flips allowed":
        assert abs(entry.mean()) < 5 * error
    else:
        assert "has a size of about 0.2" in words("session-5")
        assert 0.17 < abs(entry.mean()) < 0.23
        assert abs(entry.mean()) > 10 * error
