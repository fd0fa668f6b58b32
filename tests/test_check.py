"""Checks of arguments: arrays that would lose something, short messages, optional packages."""

import random
import re
import sys

import numpy as np
import pytest
import torch

from lindiff import _check

LOSSY = {
    "complex numbers": (np.ones(2) + 1j, "x is not an array of numbers (they are complex"),
    "a list with a complex number": ([1.0, 1j], "x is not an array of numbers (they are complex"),
    "complex torch": (torch.ones(2) * 1j, "x is not an array of numbers (they are complex"),
    "a tensor with gradient": (torch.ones(2, requires_grad=True), "x is not an array of numbers ("),
    "masked entries": (np.ma.array([1.0, 2.0], mask=[False, True]), "x has masked entries"),
    "words": (["a", "b"], "x is not an array of numbers ("),
    "ragged": ([[1.0], [1.0, 2.0]], "x is not an array of numbers ("),
}


@pytest.mark.parametrize("case", LOSSY)
def test_an_array_that_would_lose_something_is_refused(case):
    value, message = LOSSY[case]
    with pytest.raises(ValueError, match="^" + re.escape(message)):
        _check.array("x", value, 1)


@pytest.mark.parametrize(
    "value",
    [[1, 2], (1.0, 2.0), np.array([1, 2], np.uint8), torch.tensor([1, 2]), np.ma.array([1.0, 2.0])],
    ids=["list", "tuple", "integers", "torch", "a mask that hides nothing"],
)
def test_an_array_of_any_kind_becomes_floats(value):
    out = _check.array("x", value, 1)
    assert type(out) is np.ndarray
    assert out.dtype == np.float64
    assert out.tolist() == [1.0, 2.0]


def test_an_array_of_floats_is_not_copied():
    x = np.ones(3)
    assert _check.array("x", x, 1) is x


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("5", "'5'"),
        (5, "5"),
        (np.float64(0.5), "0.5"),
        ([1, 2], "[1, 2]"),
        (np.ones((3, 2)), "of type ndarray and shape (3, 2)"),
        (torch.ones(3), "of type Tensor and shape (3,)"),
        (list(range(99)), "of type list"),
    ],
)
def test_a_message_shows_what_is_short_and_describes_what_is_long(value, text):
    assert _check.brief(value) == text


def test_checks_of_numbers_do_not_print_arrays():
    flood = np.ones((900, 900))
    for check in (
        lambda: _check.integer("n", flood, 1),
        lambda: _check.number("n", flood, 0.0),
        lambda: _check.generator(flood),
    ):
        with pytest.raises(ValueError, match=re.escape("of type ndarray and shape (900, 900)")):
            check()


BROKEN = {
    "a package that is broken": ("raise ImportError('undefined symbol')", "undefined symbol"),
    "a shared library that does not load": ("raise OSError('libcudart.so')", "libcudart.so"),
    "a package that lacks another": ("import no_such_package", "No module named 'no_such_package'"),
}


@pytest.mark.parametrize("case", BROKEN)
def test_a_package_that_does_not_load_is_not_called_missing(case, tmp_path, monkeypatch):
    code, reason = BROKEN[case]
    (tmp_path / "brittle.py").write_text(code)
    monkeypatch.syspath_prepend(tmp_path)
    message = f"brittle is installed, but brittle cannot be imported: {reason}"
    with pytest.raises(ImportError, match=re.escape(message)):
        _check.optional("brittle", "data")


@pytest.mark.parametrize("module", ["no_such_package", "no_such_package.part"])
def test_a_missing_package_is_named_with_its_extra(module):
    message = "this needs the package no_such_package: pip install 'lindiff[data]'"
    with pytest.raises(ImportError, match=re.escape(message)):
        _check.optional(module, "data")
    assert module not in sys.modules


@pytest.mark.parametrize("rng", [7, np.int64(7), np.uint8(7)])
def test_a_seed_gives_the_generator_of_numpy(rng):
    assert _check.generator(rng).random() == np.random.default_rng(7).random()


def test_a_generator_is_used_as_it_is_and_none_is_a_new_one_each_time():
    rng = np.random.default_rng(0)
    assert _check.generator(rng) is rng
    assert _check.generator(None).random() != _check.generator(None).random()


@pytest.mark.parametrize(
    "rng",
    [-1, 0.0, True, "0", random.Random(0), np.random.SeedSequence(0), [1, 2], np.random],
    ids=lambda rng: type(rng).__name__,
)
def test_anything_else_is_no_source_of_randomness(rng):
    with pytest.raises(ValueError, match=r"(?s)^rng is .*; expected a numpy\.random\.Gen"):
        _check.generator(rng)
