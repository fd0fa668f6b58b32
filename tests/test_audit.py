"""The page "A sampler audit": its programs run, and it says what is stored."""

import contextlib
import io
import json
import re
from importlib.metadata import version

import audit
import audit_cases
import audit_rules as rules
import numpy as np
import pytest

import lindiff
from lindiff import _mistakes
from lindiff.testing import standard_law

STORED = json.loads(audit.STORE.read_text(encoding="utf-8"))
TEXT = audit.PAGE.read_text(encoding="utf-8")
ROWS = [(name, row) for name, found in STORED.items() for row in found["rows"]]


def programs():
    """The programs of the page, each with the output that the page shows."""
    return re.findall(r"^```python\n(.*?)^```\n\n```text\n(.*?)^```", TEXT, re.M | re.S)


def test_the_programs_run_and_print_what_the_page_shows():
    names = {}
    assert len(programs()) == TEXT.count("```python") == 3
    for program, shown in programs():
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            exec(compile(program, "audit.md", "exec"), names)
        assert printed.getvalue().split() == shown.split()


def test_the_table_of_the_page_is_that_of_the_store(tmp_path):
    copy = tmp_path / "audit.md"
    copy.write_text(TEXT, encoding="utf-8")
    audit.write(STORED, copy)
    assert copy.read_text(encoding="utf-8") == TEXT


def test_every_difference_is_explained_and_every_explanation_is_needed():
    for name, row in ROWS:
        assert row["verdict"] == "agrees" or row["note"], (name, row["sampler"])
    notes = {row["note"] for _, row in ROWS if row["note"]}
    assert set(re.findall(r"^\((audit-.*)\)=$", TEXT, re.M)) == notes
    for note in notes:  # each has a rule that fits, or no numbers at all
        assert {"agrees", "fails"} & {row["verdict"] for _, row in ROWS if row["note"] == note}


def test_the_numbers_of_the_text_are_stored():
    libraries = STORED
    assert f"In azula {libraries['azula']['version']} `REABSampler`" in TEXT
    (worst,) = (
        row["variance"]
        for _, row in ROWS
        if "linspace" in row["settings"] and row["verdict"] == "differs"
    )
    assert f"wrong by up to {worst:.0%}" in TEXT
    (guess,) = {tuple(row["explanations"]) for _, row in ROWS if row.get("explanations")}
    assert guess == ("eta is replaced by its square root: 0.7071",)
    assert len(libraries) == 6 == len(audit.LIBRARIES)
    assert f"for {audit.DRAWS:,} draws" in TEXT
    assert {row.get("draws", 0) for _, row in ROWS} == {0, audit.DRAWS}


def error_of(step, steps):
    """Largest relative error of the gains against the exact solution of the flow."""
    sigmas = np.geomspace(20.0, 0.05, steps + 1)
    denoiser = lindiff.LinearDenoiser(standard_law())
    values = denoiser.model.eigenvalues
    exact = np.sqrt((values + sigmas[-1] ** 2) / (values + sigmas[0] ** 2))
    form = _mistakes.Form("x", "ve")
    mean = denoiser.model.basis @ denoiser.model.mean
    wrong = _mistakes.Mistake("", sigmas, step)
    gain = _mistakes.affine_modes(wrong, denoiser.gains, mean, form).gain
    return np.abs(gain / exact - 1).max()


@pytest.mark.parametrize(
    ("order", "rule"),
    [
        (1, lambda steps: rules.sigma_ab(1)),
        (1, lambda steps: rules.rosenbrock(1)),
        (1, lambda steps: rules.euler_maruyama(0)),
        (1, lambda steps: rules.rosenbrock(2, wrong_level=True)),
        (1, lambda steps: rules.rosenbrock(3, wrong_level=True)),
        (2, lambda steps: rules.rosenbrock(2)),
        (2, lambda steps: rules.sigma_ab(2)),
        (2, lambda steps: rules.noise_eab(2)),
        (2, lambda steps: rules.data_eab(2)),
        (2, lambda steps: rules.velocity_ab(2)),
        (2, lambda steps: rules.dpmpp_2m()),
        (2, lambda steps: rules.dpm_2),
        (2, lambda steps: rules.dpmpp_2s),
        (2, lambda steps: rules.unipc(1, steps)),  # the corrector adds an order
    ],
)
def test_the_rules_of_other_libraries_converge_at_their_order(order, rule):
    """The error falls by 2^order when the number of steps doubles."""
    coarse, fine = (error_of(rule(steps), steps) for steps in (200, 400))
    assert coarse / fine == pytest.approx(2**order, rel=0.15)
    assert fine < 0.05


@pytest.mark.filterwarnings("ignore")  # those of the library
def test_the_schedulers_of_diffusers_do_what_is_stored(monkeypatch):
    monkeypatch.setenv("TQDM_DISABLE", "1")
    stored = STORED["diffusers"]
    if version("diffusers") != stored["version"]:
        pytest.skip(f"the audit has diffusers {stored['version']}")
    for case, row in zip(audit_cases.diffusers(), stored["rows"], strict=True):
        found = audit.examine(case, draws=2000)
        keys = ["sampler", "settings", "rule", "steps", "note", "verdict"]
        assert [found[key] for key in keys] == [row[key] for key in keys]
        if not row.get("draws", True):
            assert found["variance"] == pytest.approx(row["variance"], rel=0.1, abs=1e-4)
