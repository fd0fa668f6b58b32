"""Chapters that are run again: other seeds reach them, and what fails is seen."""

import json

import kernels
import nbformat
import pytest
import rerun
import robustness
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

SOURCES = {
    "import numpy as np": [],
    "value = np.random.default_rng(3).standard_normal()\nprint(f'{value:.3f}')": [],
    "kept = np.random.default_rng(3).standard_normal()": ["stored-run"],
    "assert value == 2.0409, f'{value:.4f}'\nassert 1 < 2\nlater = 1": [],
    "assert abs(kept - 2.0409) < 1e-4 and later": [],
    "from lindiff.sweeps import sweep\ndrawn = sweep(lambda c, r: r.normal(), [0], seed=1)": [],
    "assert abs(drawn[0] - 0.3459) > 1e-4": [],
    "1 / 0": [],
}


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    cells = [
        new_code_cell(source, metadata={"tags": tags} if tags else {})
        for source, tags in SOURCES.items()
    ]
    cells[1].outputs = [new_output("stream", text="2.041\n")]
    path = tmp_path_factory.mktemp("chapter") / "small.ipynb"
    nbformat.write(new_notebook(cells=[new_markdown_cell("# Small"), *cells]), path)
    return path


@pytest.fixture(scope="module")
def results(path):
    return {shift: rerun.run(path, kernels.ONE_THREAD, shift) for shift in (0, 5)}


def test_every_assertion_is_counted_even_below_one_that_fails(results):
    places = {"cell 4 line 1", "cell 4 line 2", "cell 5 line 1", "cell 7 line 1"}
    assert set(results[0]["assertions"]) == places
    assert results[0]["failed"] == {"cell 4 line 1": "2.0409"}
    assert "cell 5 line 1" not in results[0]["failed"], "names below a failed assertion exist"


def test_other_seeds_reach_the_chapter_but_not_its_stored_runs(results):
    assert results[5]["failed"]["cell 4 line 1"] != results[0]["failed"]["cell 4 line 1"]
    assert "cell 5 line 1" not in results[5]["failed"]


def test_a_broken_cell_and_a_changed_value_are_seen(results, path):
    assert results[0]["broken"] == {"cell 8": "ZeroDivisionError: division by zero"}
    assert results[0]["different"] == {}
    notebook = nbformat.read(path, as_version=4)
    notebook.cells[2].outputs = [new_output("stream", text="2.051\n")]
    wrong = path.with_name("wrong.ipynb")
    nbformat.write(notebook, wrong)
    assert rerun.run(wrong, kernels.ONE_THREAD)["different"] == {"cell 2": "2.041\n"}


def test_other_parameters_may_break_only_what_is_for_the_values_of_the_text(
    tmp_path, capsys, monkeypatch
):
    monkeypatch.setattr(rerun, "all_runs", lambda jobs, workers: ((j, rerun.run(*j)) for j in jobs))
    sources = [
        "x = 1",
        "# @title Check: x is one (values of the text)\nassert x == 1, f'{x} is not {1}'",
        "# @title Check: x is positive\nassert x > 0, f'{x} is not above {0}'",
    ]
    cells = [new_code_cell(source) for source in sources]
    cells[0].metadata["alternatives"] = [{"x": "2"}, {"x": "-1"}]
    path = tmp_path / "small.ipynb"
    nbformat.write(new_notebook(cells=cells), path)
    assert rerun.under_parameters([path], 1)
    told = capsys.readouterr().out.splitlines()
    assert [line.strip() for line in told if "failed" in line] == [
        "small, parameters 2, cell 3 line 2: failed: -1 is not above 0"
    ]


def test_a_stored_result_belongs_to_the_code_that_it_was_made_with(tmp_path, monkeypatch, path):
    monkeypatch.setattr(rerun, "STORE", tmp_path / "store.json")
    (tmp_path / "notebooks").mkdir()
    chapter = tmp_path / "notebooks" / path.name
    chapter.write_text(path.read_text())
    code = robustness.code_hash(nbformat.read(chapter, as_version=4))
    entry = {"code": code, "runs": 10, "assertions": 4, "failed": {"cell 4 line 1": [2, 3]}}
    rerun.store("reseed", {"small": entry})
    found = {"code": code, "compared": 1, "oldest": 1, "two threads": 0}
    rerun.store("kernels", {"small": found}, processor="some processor")
    stored = json.loads((tmp_path / "store.json").read_text())
    head, row = robustness.rows(stored, tmp_path)
    assert head[3:] == ["As on: oldest", "As on: two threads"]
    assert row[1:] == ["4", "3 in 10 of 10 runs; cell 4 line 1 fails in 2", "1 of 1", "0 of 1"]
    notebook = nbformat.read(chapter, as_version=4)
    notebook.cells[-1].source = "1"
    nbformat.write(notebook, chapter)
    assert robustness.rows(stored, tmp_path)[1][2].endswith("(before the last change)")


def test_the_stored_result_knows_every_chapter():
    stored = json.loads(rerun.STORE.read_text(encoding="utf-8"))
    names = [path.stem for path in rerun.chapters()]
    for part in ("reseed", "kernels"):
        assert list(stored[part]["chapters"]) == names


def test_the_settings_are_known_to_this_machine():
    found = kernels.settings()
    assert {"native", "two threads"} <= set(found)
    assert all(isinstance(value, str) for env in found.values() for value in env.values())
