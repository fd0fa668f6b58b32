"""The stored measurements of Jacobians along generation: their form, and a part repeated."""

import runpy

import numpy as np
import pytest
import torch

from lindiff.book import experiments, recipes
from lindiff.deep.networks import Config, UNet
from lindiff.gaussian import Gaussian
from lindiff.mixtures import EmpiricalBayes

QUANTITIES = {
    "values": (8,),
    "gains": (8,),
    "frequency": (8,),
    "pca_vector": (8,),
    "pca_subspace": (8,),
    "final_vector": (8,),
    "final_subspace": (8,),
    "trace": (),
    "trace_error": (),
    "asymmetry": (),
}


@pytest.fixture(scope="module")
def stored():
    return experiments.read_measurements()


def test_the_stored_measurements_are_complete_and_small(stored):
    arrays, metadata = stored
    assert experiments.STORED.stat().st_size < 400_000
    expected = {
        f"{n}/{c}/{q}" for n in experiments.NAMES for c in experiments.CASES for q in QUANTITIES
    }
    assert set(arrays) == expected | {"sigmas"}
    for key in expected:
        assert arrays[key].shape == (16, 12, *QUANTITIES[key.rsplit("/", 1)[1]])
        assert arrays[key].dtype == np.float16
    np.testing.assert_allclose(arrays["sigmas"], experiments.SIGMAS[::3][:12])
    assert metadata["cases"] == [[n, c] for n in experiments.NAMES for c in experiments.CASES]


@pytest.mark.parametrize(
    ("name", "case", "number"),
    [
        ("mnist", "network", 3),
        ("photographs", "network", 5),
        ("mnist", "images", 2),
        ("mnist", "shuffled", 1),
        ("mnist", "mixture", 4),
    ],
)
def test_two_levels_of_a_trajectory_are_measured_again_as_they_are_stored(
    stored, name, case, number
):
    x = experiments.images(name)
    basis = Gaussian.fit(x, experiments.K).basis
    path = experiments.trajectory(name, case, number, x, basis, at=experiments.PLACES[:2])
    again = experiments.summary(path, basis, experiments.TRANSFORM[name])
    for quantity in ("values", "gains", "pca_subspace", "trace", "asymmetry"):
        kept = stored[0][f"{name}/{case}/{quantity}"][number, :2]
        # half precision, and float32 sums in another order on other machines; the last of eight
        # directions may belong to a close pair
        np.testing.assert_allclose(again[quantity], kept, rtol=0.02, atol=5e-3, err_msg=quantity)


def test_the_mixture_has_the_moments_of_the_images_in_the_span_it_keeps():
    for name in experiments.NAMES:
        x = experiments.images(name)[:2000]
        law = experiments.mixture(name, x, rank=20)
        mean = sum(w * c.mean for w, c in zip(law.weights, law.components, strict=True))
        np.testing.assert_allclose(mean, x.mean(axis=0), atol=1e-9)
        assert len(law.components) == 10
        assert law.weights.min() > 0.08
        kept = sum(
            w * c.eigenvalues.sum() for w, c in zip(law.weights, law.components, strict=True)
        )
        between = sum(
            w * ((c.mean - mean) ** 2).sum()
            for w, c in zip(law.weights, law.components, strict=True)
        )
        assert 0.5 < (kept + between) / x.var(axis=0).sum() < 1


def test_a_shuffled_network_has_the_same_numbers_in_other_places(rng):
    before = UNet(Config(width=16, deep_width=16))
    weights = [p.clone() for p in before.parameters()]
    after = experiments.shuffled(before, rng=rng)
    for old, kept, new in zip(weights, before.parameters(), after.parameters(), strict=True):
        assert torch.equal(old, kept)
        assert torch.equal(old.flatten().sort().values, new.flatten().sort().values)
    assert not torch.equal(weights[0], next(after.parameters()))


@pytest.fixture
def tiny(monkeypatch):
    """Experiments that take no time."""
    x = np.random.default_rng(0).standard_normal((60, 1, 4, 4)).astype(np.float32)
    recipe = recipes.Recipe(Config(width=16, deep_width=16), x, x, 1, 1, "noise")
    monkeypatch.setattr(recipes, "RECIPES", {"photographs": lambda: recipe})
    monkeypatch.setattr(experiments, "NAMES", ("photographs",))
    monkeypatch.setattr(experiments, "CASES", ("mixture", "images"))
    monkeypatch.setattr(experiments, "SIGMAS", np.array([2.0, 1.0, 0.5, 0.0]))
    monkeypatch.setattr(experiments, "PLACES", (0, 2))
    monkeypatch.setattr(experiments, "K", 2)
    monkeypatch.setattr(experiments, "PATHS", 3)
    mixture = experiments.mixture
    monkeypatch.setattr(experiments, "mixture", lambda name, x: mixture(name, x, rank=3))
    return x.reshape(60, 16).astype(float)


def test_the_command_stores_what_the_trajectories_give(tiny, tmp_path, capsys):
    experiments.main([str(tmp_path / "a.npz")])
    printed = capsys.readouterr().out
    assert printed.startswith("2 cases, about ")
    assert "minutes on one core" in printed
    assert [path.name for path in tmp_path.iterdir()] == ["a.npz"]
    arrays, _ = experiments.read_measurements(tmp_path / "a.npz")
    np.testing.assert_array_equal(arrays["sigmas"], [2.0, 0.5])
    path = experiments.trajectory("photographs", "images", 1, tiny, np.eye(16)[:2], at=(0, 2))
    stored = arrays["photographs/images/values"]
    assert stored.shape == (3, 2, 2)
    np.testing.assert_allclose(stored[1], path.eigenvalues, rtol=1e-3, atol=1e-6)
    law = EmpiricalBayes(tiny)
    exact = np.linalg.eigvalsh(law.jacobian(path.states[0], 2.0))[:-3:-1]
    np.testing.assert_allclose(stored[1, 0], exact, rtol=2e-3)


def test_an_interrupted_run_goes_on_where_it_was(tiny, tmp_path, monkeypatch):
    target, done = tmp_path / "a.npz", []
    measure = experiments.measure

    def failing(name, case):
        if case == "images" and "images" not in done:
            done.append(case)
            raise KeyboardInterrupt
        done.append(case)
        return measure(name, case)

    monkeypatch.setattr(experiments, "measure", failing)
    with pytest.raises(KeyboardInterrupt):
        experiments.main([str(target)])
    assert not target.exists()
    experiments.main([str(target)])
    assert done == ["mixture", "images", "images"]
    assert target.exists()


@pytest.fixture
def left_over(tiny, tmp_path, monkeypatch):
    """What an interrupted run leaves; a call that measures again fails."""
    measure = experiments.measure

    def once(name, case):
        if case == "images":
            raise KeyboardInterrupt
        return measure(name, case)

    monkeypatch.setattr(experiments, "measure", once)
    with pytest.raises(KeyboardInterrupt):
        experiments.main([str(tmp_path / "a.npz")])
    monkeypatch.setattr(experiments, "measure", lambda name, case: pytest.fail("measured"))
    return tmp_path / "a.npz.partial"


DAMAGES = {
    "empty": lambda c: b"",
    "cut": lambda c: c[:-100],
    "text": lambda c: b"not an archive, but some text that is long enough",
    "flipped": lambda c: c[:200] + bytes([c[200] ^ 1]) + c[201:],
    "zeros": lambda c: bytes(len(c)),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_state_is_refused_with_advice_and_left_alone(left_over, damage):
    content = DAMAGES[damage](left_over.read_bytes())
    left_over.write_bytes(content)
    with pytest.raises(ValueError, match=r"partial is damaged .*; delete it to start again"):
        experiments.main([str(left_over.with_suffix(""))])
    assert left_over.read_bytes() == content


def test_another_array_file_holds_no_measurements(tmp_path):
    np.savez(tmp_path / "other.npz", sigmas=np.ones(3))
    with pytest.raises(ValueError, match="holds no measurements"):
        experiments.read_measurements(tmp_path / "other.npz")
    with pytest.raises(FileNotFoundError):
        experiments.read_measurements(tmp_path / "none.npz")


def test_a_state_of_other_networks_is_refused_and_left_alone(left_over, tmp_path, monkeypatch):
    before = left_over.read_bytes()
    (tmp_path / "photographs.safetensors").write_bytes(b"trained again")
    monkeypatch.setattr(experiments.checkpoints, "FOLDER", tmp_path)
    with pytest.raises(ValueError, match="measured with other networks or cases; delete it"):
        experiments.main([str(left_over.with_suffix(""))])
    assert left_over.read_bytes() == before


@pytest.mark.parametrize("name", ["none/a.npz", "."])
def test_a_place_that_cannot_be_written_to_is_noticed_before_the_work(
    tiny, tmp_path, monkeypatch, capsys, name
):
    monkeypatch.setattr(experiments, "measure", lambda name, case: pytest.fail("measured"))
    with pytest.raises(ValueError, match="expected a file in an existing folder that can be"):
        experiments.main([str(tmp_path / name)])
    assert capsys.readouterr().out == ""


def test_the_module_is_the_command(monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["experiments", "--help"])
    with pytest.raises(SystemExit, match="0"):
        runpy.run_path(experiments.__file__, run_name="__main__")
    assert "file to write" in capsys.readouterr().out
