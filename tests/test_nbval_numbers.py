"""Wrong references fail, and rounding in the last digit does not."""

import os
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_notebook, new_output
from nbval_numbers import same_text

PRINTED = "N = 250: error 0.037 of [ 1.5  -0.25  2.  ]\nbest 5e-07, 144 products, W2 nan\n"


@pytest.mark.parametrize(
    "other",
    [
        PRINTED,
        PRINTED.replace("0.037", "0.038"),
        PRINTED.replace("0.037", "0.036"),
        PRINTED.replace("5e-07", "6e-07"),
        PRINTED.replace("[ 1.5  -0.25  2.  ]", "[1.5  -0.25  2. ]"),
        PRINTED.replace("1.5", "1.50"),
        PRINTED.replace("2. ", "2.01"),
    ],
)
def test_the_last_digit_and_the_spacing_may_differ(other):
    assert same_text(PRINTED, other) and same_text(other, PRINTED)


@pytest.mark.parametrize(
    "other",
    [
        PRINTED.replace("0.037", "0.039"),
        PRINTED.replace("0.037", "0.37"),
        PRINTED.replace("-0.25", "0.25"),
        PRINTED.replace("5e-07", "5e-06"),
        PRINTED.replace("144", "145"),
        PRINTED.replace("250", "251"),
        PRINTED.replace("2.  ", "3.  "),
        PRINTED.replace("nan", "0.1"),
        PRINTED.replace("W2", "W3"),
        PRINTED.replace("error", "errors"),
        PRINTED.replace("-0.25", ""),
        PRINTED.replace("\n", " ", 1),
        PRINTED.splitlines()[0] + "\n",
        PRINTED + "one line more\n",
        "",
    ],
)
def test_a_wrong_number_word_or_line_fails(other):
    assert not same_text(PRINTED, other) and not same_text(other, PRINTED)


def test_a_cell_may_ask_for_a_relative_tolerance():
    assert same_text("144 products, 0.50", "150 products, 0.52", rtol=0.05)
    assert not same_text("144 products, 0.50", "160 products, 0.50", rtol=0.05)


# What a cell prints, what its notebook has stored, its metadata, and whether that may pass.
CASES = {
    "last digit": ("error 0.51\n", "error 0.50\n", {}, True),
    "number": ("error 0.51\n", "error 0.53\n", {}, False),
    "word": ("error 0.51\n", "mistake 0.51\n", {}, False),
    "line": ("error 0.51\n", "error 0.51\nand more\n", {}, False),
    "count": ("5 of 9\n", "4 of 9\n", {}, False),
    "tolerance": ("144 products\n", "148 products\n", {"numbers": {"rtol": 0.05}}, True),
    "beyond": ("144 products\n", "178 products\n", {"numbers": {"rtol": 0.05}}, False),
}


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory):
    """Whether nbval passes each case, from one run of it over a notebook per case."""
    folder = tmp_path_factory.mktemp("notebooks")
    for name, (printed, reference, metadata, _) in CASES.items():
        cell = new_code_cell(f"print({printed!r}, end='')", execution_count=1, metadata=metadata)
        cell.outputs = [new_output("stream", name="stdout", text=reference)]
        nbformat.write(new_notebook(cells=[cell]), folder / f"{name}.ipynb")
    options = f"-q -rA -p nbval_numbers -p no:cacheprovider -c {os.devnull} --nbval".split()
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *options, "--nbval-current-env", "."],
        env=os.environ | {"PYTHONPATH": str(Path(__file__).parent)},
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=240,
    )
    return done.stdout


@pytest.mark.parametrize("name", CASES)
def test_nbval_compares_numbers_as_numbers(outcomes, name):
    passed, failed = (f"{word} {name}.ipynb::" in outcomes for word in ("PASSED", "FAILED"))
    assert passed != failed, outcomes
    assert passed == CASES[name][-1], outcomes
