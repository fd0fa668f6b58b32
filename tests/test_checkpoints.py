"""Checkpoints: what comes along, round trips, damaged and foreign files."""

import hashlib
import json
import os
import pickletools

import numpy as np
import pytest
import safetensors.torch
import torch

from lindiff.book import recipes
from lindiff.deep import checkpoints
from lindiff.deep.checkpoints import _read_tensors, _write_tensors
from lindiff.deep.networks import Config, UNet
from lindiff.deep.patches import Transformer, TransformerConfig

SMALL = Config(width=16, deep_width=16, blocks=1, deep_blocks=1)
NAMES = sorted(recipes.SHIPPED)


@pytest.fixture
def stored(tmp_path):
    """A small network, and the checkpoint that holds it."""
    network, path = UNet(SMALL), tmp_path / "small.safetensors"
    checkpoints.write_checkpoint(path, network, {"data": "none", "metrics": {"error": [0.1, 0.2]}})
    return network, path


# ---------------------------------------------------------------- what comes along


def test_an_unknown_name_is_answered_with_the_names_that_come_along():
    assert sorted(path.stem for path in checkpoints.FOLDER.glob("*.safetensors")) == NAMES
    for source in ("celeba", 3):
        with pytest.raises(
            ValueError, match=f"source is .*; expected one of {', '.join(NAMES)}, or"
        ):
            checkpoints.load(source)


def test_all_networks_together_take_at_most_ten_megabytes():
    assert sum(path.stat().st_size for path in checkpoints.FOLDER.iterdir()) <= 10e6


@pytest.mark.parametrize("name", NAMES)
def test_a_checkpoint_is_small_and_holds_half_precision_its_digest_and_no_program(name):
    path = checkpoints.FOLDER / f"{name}.safetensors"
    assert path.stat().st_size <= 1.1e6
    tensors, _ = _read_tensors(path)
    assert {value.dtype for value in tensors.values()} == {torch.float16}
    with safetensors.safe_open(path, framework="pt") as file:
        assert len(json.loads(file.metadata()["sha256"])) == 64
    with pytest.raises(ValueError):  # not one instruction of a pickle
        list(pickletools.genops(path.read_bytes()))


@pytest.mark.parametrize("name", NAMES)
def test_a_network_that_comes_along_is_ready_for_use_and_not_for_training(name):
    network = checkpoints.load(name)
    assert not network.training
    assert not any(p.requires_grad for p in network.parameters())
    assert {p.dtype for p in network.parameters()} == {torch.float32}
    assert sum(p.numel() for p in network.parameters()) < 1e6
    side = {"d": 28, "m": 28, "p": 32, "c": 16}[name[0]]
    y = torch.zeros(2, network.config.channels, side, side)
    out = network(y, 0.5)
    assert out.shape == y.shape
    assert out.isfinite().all()


@pytest.mark.parametrize("name", NAMES)
def test_the_metadata_tell_data_range_settings_and_errors(name):
    known = checkpoints.read_checkpoint(name).metadata
    assert set(known) == {"data", "metrics", "sigma_range", "training"}
    assert "lindiff." in known["data"]
    assert known["sigma_range"] == [0.02, 20.0]
    assert known["training"]["steps"] > 1000


# ---------------------------------------------------------------- your own


def test_a_network_survives_being_written_and_read(stored):
    network, path = stored
    again, known = checkpoints.read_checkpoint(str(path))
    assert again.config == SMALL
    assert known == {"data": "none", "metrics": {"error": [0.1, 0.2]}}
    y = torch.from_numpy(np.random.default_rng(0).standard_normal((2, 1, 8, 8))).float()
    torch.testing.assert_close(again(y, 0.5), network.eval()(y, 0.5), rtol=0, atol=0)


def test_a_transformer_survives_as_well_and_half_precision_rounds_its_weights(tmp_path):
    network, path = TransformerConfig(size=8, width=16).network(), tmp_path / "small.safetensors"
    checkpoints.write_checkpoint(path, network, {}, half=True)
    again = checkpoints.load(path)
    assert type(again) is Transformer
    assert again.config == network.config
    for old, new in zip(network.parameters(), again.parameters(), strict=True):
        assert new.dtype == torch.float32
        torch.testing.assert_close(new, old.half().float(), rtol=0, atol=0)


def test_numpy_and_torch_values_are_stored_as_lists_and_numbers(stored):
    network, path = stored
    values = {"a": np.arange(2.0), "b": [np.float32(0.5), np.int64(3)], "c": torch.ones(1)}
    checkpoints.write_checkpoint(path, network, {"metrics": values})
    assert checkpoints.read_checkpoint(path).metadata["metrics"] == {
        "a": [0, 1],
        "b": [0.5, 3],
        "c": [1],
    }


@pytest.mark.parametrize("key", ["network", "config", "sha256"])
def test_the_keys_of_the_configuration_and_of_the_digest_are_taken(tmp_path, key):
    with pytest.raises(ValueError, match=f"metadata has the key '{key}'"):
        checkpoints.write_checkpoint(tmp_path / "a.safetensors", UNet(SMALL), {key: 1})
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("value", [{1, 2}, [object()], {(1, 2): 3}])
def test_metadata_that_json_cannot_hold_are_refused_by_name(tmp_path, value):
    with pytest.raises(ValueError, match=r"error is [{\[].*; expected what JSON can hold"):
        checkpoints.write_checkpoint(tmp_path / "a.safetensors", UNet(SMALL), {"error": value})
    assert list(tmp_path.iterdir()) == []


def test_another_network_is_refused(tmp_path):
    with pytest.raises(
        ValueError, match="network is a Linear; expected one of UNet, Mixer, Transformer"
    ):
        checkpoints.write_checkpoint(tmp_path / "a.safetensors", torch.nn.Linear(2, 2), {})


def test_the_bytes_are_on_the_disk_before_they_replace_the_old_ones(stored, monkeypatch):
    network, path = stored
    done, sync, replace = [], os.fsync, os.replace
    monkeypatch.setattr(os, "fsync", lambda file: (done.append("sync"), sync(file)))
    monkeypatch.setattr(os, "replace", lambda *paths: (done.append("replace"), replace(*paths)))
    checkpoints.write_checkpoint(path, network, {})
    assert done == ["sync", "replace"]


def test_a_checkpoint_is_replaced_at_once_or_not_at_all(stored, monkeypatch):
    network, path = stored
    before = path.read_bytes()

    def full(source, target):
        raise OSError("no space left")

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(OSError, match="no space left"):
        checkpoints.write_checkpoint(path, network, {"data": "other"})
    assert path.read_bytes() == before
    assert [p.name for p in path.parent.iterdir()] == [path.name]  # nothing is left behind


def test_a_missing_file_is_called_missing(tmp_path):
    with pytest.raises(FileNotFoundError, match="there is no file"):
        checkpoints.read_checkpoint(tmp_path / "none.safetensors")


def flip(content):
    """Change the length of the header, the first eight bytes of the format."""
    return bytes([content[0] ^ 0xFF]) + content[1:]


@pytest.mark.parametrize(
    "damage",
    [lambda c: c[:-100], lambda c: c[:50], lambda c: c[:4], lambda c: b"", flip],
    ids=["cut at the end", "cut in the header", "cut at once", "empty", "flipped"],
)
def test_a_damaged_file_is_refused_with_advice_and_left_alone(stored, damage):
    _, path = stored
    path.write_bytes(damage(path.read_bytes()))
    before = hashlib.sha256(path.read_bytes()).hexdigest()
    with pytest.raises(ValueError, match=r"is damaged or no safetensors file .* good copy"):
        checkpoints.read_checkpoint(path)
    assert hashlib.sha256(path.read_bytes()).hexdigest() == before


def header(content):
    """Where the data begin."""
    return 8 + int.from_bytes(content[:8], "little")


DAMAGES = {
    "a weight": lambda c: c[:-500] + bytes([c[-500] ^ 1]) + c[-499:],
    "a tail of zeros": lambda c: c[:-4096] + bytes(4096),
    "a number of the metadata": lambda c: c[: header(c)].replace(b"0.2]", b"0.3]") + c[header(c) :],
    "a name of a tensor": lambda c: c[: header(c)].replace(b"conv1", b"conv3") + c[header(c) :],
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_damage_that_leaves_the_form_is_noticed_by_the_digest(stored, damage):
    network, path = stored
    with torch.no_grad():
        for weight in network.parameters():
            weight.add_(1)  # zeros of a new network would hide a tail of zeros
    checkpoints.write_checkpoint(path, network, {"metrics": {"error": [0.1, 0.2]}})
    before = path.read_bytes()
    path.write_bytes(DAMAGES[damage](before))
    assert path.read_bytes() != before
    with pytest.raises(ValueError, match=r"is damaged .* another SHA-256 .* good copy"):
        checkpoints.read_checkpoint(path)


def test_files_without_a_digest_are_read_as_well(stored):
    network, path = stored
    text = json.dumps(SMALL.to_dict())
    path.write_bytes(safetensors.torch.save(network.state_dict(), {"config": text}))
    assert checkpoints.read_checkpoint(path).metadata == {}


def rewritten(path, change):
    """Write a checkpoint again after `change` of its tensors and metadata."""
    tensors, known = _read_tensors(path)
    known = {key: json.loads(value) for key, value in known.items()}
    change(tensors, known)
    _write_tensors(path, tensors, known)


@pytest.mark.parametrize(
    "change",
    [
        lambda tensors, known: known.pop("config"),
        lambda tensors, known: known["config"].update(width=32),
        lambda tensors, known: known["config"].update(width=-1),
        lambda tensors, known: known["config"].update(attention=2),
        lambda tensors, known: known.update(config=[1, 2]),
        lambda tensors, known: tensors.pop("head.weight"),
        lambda tensors, known: tensors.update(extra=torch.zeros(1)),
    ],
    ids=["no configuration", "other width", "no width", "unknown", "a list", "missing", "extra"],
)
def test_a_file_that_does_not_fit_its_configuration_is_refused_with_advice(stored, change):
    _, path = stored
    rewritten(path, change)
    with pytest.raises(ValueError, match="does not hold a network of this version"):
        checkpoints.read_checkpoint(path)
