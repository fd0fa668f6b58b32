"""The stored measurements of Jacobians: their form, and a part of them repeated."""

import runpy

import numpy as np
import pytest
import torch

from lindiff.book import experiments, recipes
from lindiff.deep.networks import Config, UNet
from lindiff.denoisers import LinearDenoiser

K, GAINS = experiments.K, experiments.GAINS
PATH = {
    "values": (K,),
    "gains": (GAINS,),
    "frequency": (K,),
    "pca_vector": (K,),
    "pca_subspace": (K,),
    "final_vector": (K,),
    "final_subspace": (K,),
    "trace": (),
    "trace_error": (),
    "asymmetry": (),
}
POINT = {
    "values": (K,),
    "pca_subspace": (K,),
    "trace": (),
    "asymmetry": (),
    "to_wiener": (),
    "error": (),
    "wiener_error": (),
    "errors": (K,),
}


@pytest.fixture(scope="module")
def stored():
    return experiments.read_measurements()


@pytest.fixture(scope="module")
def settings():
    return {data_set: experiments.setting(data_set) for data_set in recipes.DATA_SETS}


def test_the_stored_measurements_are_complete_and_small(stored):
    arrays, networks = stored
    assert experiments.STORED.stat().st_size < 3_000_000
    levels = len(experiments.PLACES), len(experiments.POINT_SIGMAS)
    expected = {}
    for data_set in recipes.DATA_SETS:
        for case in experiments.cases(data_set):
            for key, shape in PATH.items():
                expected[f"path/{data_set}/{case}/{key}"] = (experiments.PATHS, levels[0], *shape)
            for key, shape in POINT.items() if "images" in case or "twin" in case else ():
                expected[f"point/{data_set}/{case}/{key}"] = (experiments.POINTS, levels[1], *shape)
            pixels = {"digits": 784, "photographs": 1024, "colour": 768}[data_set]
            expected[f"path/{data_set}/{case}/sample"] = (experiments.PATHS, pixels)
            name = experiments.checkpoint(data_set, case)
            if name is not None and not case.startswith("shuffled"):
                assert len(networks[name]) == 64
    assert {k: v.shape for k, v in arrays.items() if not k.endswith("sigmas")} == expected
    np.testing.assert_allclose(arrays["sigmas"], experiments.SIGMAS[::3][:12])
    np.testing.assert_allclose(arrays["point_sigmas"], experiments.POINT_SIGMAS)


def test_the_networks_that_come_along_are_those_that_were_measured(stored):
    for data_set in recipes.DATA_SETS:
        for case in experiments.cases(data_set):
            name = experiments.checkpoint(data_set, case)
            if name in recipes.SHIPPED:
                assert experiments._sha256(data_set, case)[name] == stored[1][name]


REPEATED = [
    ("digits", "unet-images-0", 3),
    ("digits", "mixer-twin-0", 2),
    ("digits", "memory", 2),
    ("digits", "50-1", 1),
    ("digits", "shuffled-2", 1),
    ("photographs", "large", 5),
    ("photographs", "unet-twin-0", 4),
    ("photographs", "mixture", 4),
    ("colour", "unet-images-0", 0),
    ("colour", "mixer-images-0", 5),
]


@pytest.mark.parametrize(("data_set", "case", "number"), REPEATED)
def test_a_level_of_a_trajectory_is_measured_again_as_it_is_stored(
    stored, settings, data_set, case, number
):
    where = settings[data_set]
    path = experiments.trajectory(where, case, number, at=experiments.PLACES[:1])
    again = experiments.summary(path, where)
    for quantity in ("values", "gains", "frequency", "pca_subspace", "trace", "asymmetry"):
        kept = stored[0][f"path/{data_set}/{case}/{quantity}"][number, :1].astype(float)
        size = np.abs(kept).max()
        # half precision, and float32 sums in another order on other machines; the last directions
        # may belong to a close pair; an asymmetry of exact laws is rounding
        atol = max(0.03 * size, 1e-9)
        np.testing.assert_allclose(again[quantity], kept, atol=atol, err_msg=quantity)


@pytest.mark.parametrize(
    ("data_set", "case", "number"), [row for row in REPEATED if row[1][-2:] == "-0"]
)
def test_a_noisy_image_is_measured_again_as_it_is_stored(stored, settings, data_set, case, number):
    level = 4
    again = experiments.point(settings[data_set], case, number, experiments.POINT_SIGMAS[level])
    for quantity in POINT:
        kept = stored[0][f"point/{data_set}/{case}/{quantity}"][number, level].astype(float)
        size = np.abs(kept).max()
        np.testing.assert_allclose(again[quantity], kept, atol=0.03 * size, err_msg=quantity)


def test_a_linear_denoiser_is_measured_as_theory_says(settings, monkeypatch):
    where = settings["colour"]
    wiener = LinearDenoiser(where.law)

    def linear(data_set, case, x):
        return lambda y, s: wiener(y.flatten(1), s).reshape(y.shape), torch.float64

    monkeypatch.setattr(experiments, "denoiser", linear)
    found = experiments.point(where, "unet-twin-0", 3, 1.6)
    gains = wiener.gains(1.6)
    np.testing.assert_allclose(found["values"], gains[:K], rtol=1e-3)
    np.testing.assert_allclose(found["pca_subspace"][K - 1], 1, atol=1e-2)
    # the probes leave the trace of what the leading directions do not have a standard error
    rest = np.sqrt(2 * (gains[K:] ** 2).sum() / experiments.PROBES)
    assert abs(found["trace"] - gains.sum()) < 4.5 * rest
    assert found["asymmetry"] < 1e-9
    assert found["to_wiener"] < 1e-9
    assert found["error"] == pytest.approx(found["wiener_error"])
    clean, noise = (rows[3] for rows in experiments.noisy_images(where, "unet-twin-0"))
    along = where.law.basis[:K] @ (wiener((clean + 1.6 * noise)[None], 1.6)[0] - clean)
    np.testing.assert_allclose(found["errors"], along**2, atol=1e-2 * (along**2).max())
    clean, _ = experiments.noisy_images(where, "unet-twin-0")
    scores = (clean - where.law.mean) @ where.law.basis.T / np.sqrt(where.law.eigenvalues)
    assert abs((scores**2).mean() - 1) < 0.05  # a draw of the law: 12 * 768 squares, s.e. 0.015


def test_noisy_photographs_come_from_each_picture_and_never_from_training(settings):
    for data_set, pictures in experiments.PICTURES.items():
        clean, noise = experiments.noisy_images(settings[data_set], "unet-images-0")
        assert clean.shape == noise.shape == (experiments.POINTS, settings[data_set].x.shape[1])
        assert experiments.POINTS % len(pictures) == 0
        known = {row.tobytes() for row in settings[data_set].x.astype(np.float32)}
        assert all(row.tobytes() not in known for row in clean.astype(np.float32))


def test_the_mixture_has_the_moments_of_the_images_in_the_span_it_keeps(settings):
    for data_set, where in settings.items():
        x = where.x[:2000]
        law = experiments.mixture(data_set, x, rank=20)
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


def test_an_unknown_case_is_answered_with_those_there_are():
    with pytest.raises(ValueError, match="case is 'large'; expected one of unet-images-0, "):
        experiments.checkpoint("colour", "large")


# ---------------------------------------------------------------- the command


@pytest.fixture
def tiny(monkeypatch, tmp_path):
    """Experiments that take no time."""
    x = np.random.default_rng(0).standard_normal((60, 1, 4, 4)).astype(np.float32)
    monkeypatch.setattr(recipes, "DATA_SETS", ("photographs",))
    monkeypatch.setattr(recipes, "family_images", lambda data_set: (x, x))
    denoiser = experiments.denoiser  # an exact law in place of the network
    names = {"unet-images-0": "mixture", "memory": "memory"}
    monkeypatch.setattr(experiments, "cases", lambda data_set: tuple(names))
    monkeypatch.setattr(experiments, "checkpoint", lambda data_set, case: None)
    monkeypatch.setattr(experiments, "denoiser", lambda d, case, x: denoiser(d, names[case], x))
    monkeypatch.setattr(experiments, "noisy_images", lambda where, case: (where.x, where.x + 1))
    for name, value in {
        "SIGMAS": np.array([2.0, 1.0, 0.5, 0.0]),
        "PLACES": (0, 2),
        "POINT_SIGMAS": (0.5, 1.0),
        "K": 2,
        "GAINS": 3,
        "PATHS": 3,
        "POINTS": 2,
    }.items():
        monkeypatch.setattr(experiments, name, value)
    mixture = experiments.mixture
    monkeypatch.setattr(experiments, "mixture", lambda name, x: mixture(name, x, rank=3))
    return x.reshape(60, 16).astype(float)


def test_the_command_stores_what_the_trajectories_give(tiny, tmp_path, capsys):
    experiments.main([str(tmp_path / "a.npz")])
    assert capsys.readouterr().out.startswith("3 measurements, about ")
    assert [path.name for path in tmp_path.iterdir()] == ["a.npz"]
    arrays, _ = experiments.read_measurements(tmp_path / "a.npz")
    np.testing.assert_array_equal(arrays["sigmas"], [2.0, 0.5])
    where = experiments.setting("photographs")
    path = experiments.trajectory(where, "memory", 1, at=(0, 2))
    values = arrays["path/photographs/memory/values"]
    assert values.shape == (3, 2, 2)
    np.testing.assert_allclose(values[1], path.eigenvalues, rtol=1e-3, atol=1e-6)
    assert arrays["point/photographs/unet-images-0/values"].shape == (2, 2, 2)


def test_an_interrupted_run_goes_on_where_it_was(tiny, tmp_path, monkeypatch):
    target, done = tmp_path / "a.npz", []
    measure = experiments.measure

    def failing(kind, where, case):
        done.append((kind, case))
        if done.count(("path", "memory")) == 1 and done[-1] == ("path", "memory"):
            raise KeyboardInterrupt
        return measure(kind, where, case)

    monkeypatch.setattr(experiments, "measure", failing)
    with pytest.raises(KeyboardInterrupt):
        experiments.main([str(target)])
    assert not target.exists()
    experiments.main([str(target)])
    first = [("path", "unet-images-0"), ("point", "unet-images-0"), ("path", "memory")]
    assert done == [*first, ("path", "memory")]
    assert target.exists()


def test_what_belongs_to_another_network_is_measured_again(tiny, tmp_path, monkeypatch):
    sha = iter("abab")
    monkeypatch.setattr(experiments, "_sha256", lambda data_set, case: {"net": next(sha)})
    times = []
    monkeypatch.setattr(
        experiments, "measure", lambda *a: times.append(1) or {"values": np.zeros(1)}
    )
    for _ in range(2):
        experiments._store(tmp_path, "path", "photographs", "memory")
    assert len(times) == 2


def test_a_file_without_measurements_is_refused(tmp_path):
    np.savez(tmp_path / "a.npz", x=np.ones(1))
    with pytest.raises(ValueError, match="holds no measurements"):
        experiments.read_measurements(tmp_path / "a.npz")


def test_the_module_is_the_command(monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["experiments", "--help"])
    with pytest.raises(SystemExit):
        runpy.run_path(experiments.__file__, run_name="__main__")
    assert "file to write" in capsys.readouterr().out
