"""Copies of the chapters for students: no solution is left, all else is, and it runs."""

import re
from pathlib import Path

import nbformat
import pytest
import reading_rules
import student

CHAPTERS = sorted((Path(__file__).parents[1] / "notebooks").glob("*.ipynb"))


def notebook(*cells):
    new = {"m": nbformat.v4.new_markdown_cell, "c": nbformat.v4.new_code_cell}
    return nbformat.v4.new_notebook(cells=[new[kind](source) for kind, source in cells])


def sources(nb):
    return [(cell.cell_type[0], cell.source) for cell in nb.cells]


def test_a_solution_in_words_becomes_an_empty_cell():
    exercise = ":::{exercise}\n:label: ex-a\nWhy?\n:::"
    text = exercise + "\n\n::::{solution} ex-a\n:::{note}\nSo.\n:::\n::::\n\nOn."
    assert sources(student.without_solutions(notebook(("m", text)))) == [
        ("m", exercise),
        ("c", "# Your solution of ex-a."),
        ("m", "On."),
    ]


def test_a_solution_in_code_goes_up_to_its_end():
    nb = notebook(
        ("m", "Why?"),
        ("m", ":::{solution-start} ex-a\n:class: dropdown\n:::"),
        ("c", "secret = 1"),
        ("m", "A secret."),
        ("c", "more = 2"),
        ("m", ":::{solution-end}\n:::\n\nNext: ```{solution-end}```"),
        ("c", "kept = 3"),
    )
    assert sources(student.without_solutions(nb)) == [
        ("m", "Why?"),
        ("c", "# Your solution of ex-a."),
        ("m", "Next: ```{solution-end}```"),
        ("c", "kept = 3"),
    ]


def test_a_solution_without_end_is_an_error():
    with pytest.raises(ValueError, match="the solution of ex-a has no end"):
        student.without_solutions(notebook(("m", ":::{solution-start} ex-a\n:::"), ("c", "x")))


def test_an_exercise_keeps_its_check_and_the_check_its_fold():
    nb = notebook(
        ("m", ":::{exercise}\n:label: ex-a\nCompute `x`.\n:::"),
        ("c", "# @title Check: your x against 1\nassert x == 1"),
        ("m", ":::{solution-start} ex-a\n:class: dropdown\n:::"),
        ("c", "x = 1"),
        ("m", ":::{solution-end}\n:::"),
    )
    reading_rules.fold(nb.cells[1])
    nb.cells[1].outputs = [nbformat.v4.new_output("stream", text="told")]
    _, check, own = student.without_solutions(nb).cells
    assert check.source == nb.cells[1].source and check.outputs == []
    assert check.metadata["tags"] == ["hide-cell"]
    assert check.metadata["jupyter"] == {"source_hidden": True}
    assert own.source == "# Your solution of ex-a." and own.metadata == {}


@pytest.mark.parametrize("path", CHAPTERS, ids=lambda p: p.stem)
def test_a_copy_folds_what_the_chapter_folds(path):
    whole = nbformat.read(path, as_version=4)
    settings = {cell.source: cell.metadata for cell in whole.cells if cell.cell_type == "code"}
    kept = [cell for cell in student.without_solutions(whole).cells if cell.source in settings]
    assert all(cell.metadata == settings[cell.source] for cell in kept)
    folded = {reading_rules.kind(cell) for cell in kept if "tags" in cell.metadata}
    assert folded >= {"Figure", "Check"}


@pytest.mark.parametrize("path", CHAPTERS, ids=lambda p: p.stem)
def test_a_copy_has_every_exercise_and_no_solution(path):
    whole = nbformat.read(path, as_version=4)
    copy = student.without_solutions(whole)
    text = "\n".join(cell.source for cell in copy.cells)
    labels = re.findall(r"\{exercise\}.*\n:label: (\S+)", "\n".join(c.source for c in whole.cells))
    assert "{solution" not in text
    assert re.findall(r"^# Your solution of (\S+)\.$", text, re.M) == labels != []
    assert all(f":label: {label}" in text for label in labels)


@pytest.mark.parametrize("path", CHAPTERS, ids=lambda p: p.stem)
def test_a_copy_runs_because_it_is_the_beginning_of_a_chapter_that_does(path):
    code = [c.source for c in nbformat.read(path, as_version=4).cells if c.cell_type == "code"]
    copy = student.without_solutions(nbformat.read(path, as_version=4))
    kept = [c.source for c in copy.cells if c.cell_type == "code"]
    kept = [source for source in kept if not source.startswith("# Your solution of ")]
    assert kept == code[: len(kept)]
    assert len(kept) > 10


def test_the_command_writes_every_chapter(tmp_path, capsys):
    student.main(["--folder", str(tmp_path / "copies")])
    assert sorted(p.name for p in (tmp_path / "copies").glob("*.ipynb")) == [
        p.name for p in CHAPTERS
    ]
    assert f"{len(CHAPTERS)} notebooks without solutions" in capsys.readouterr().out
    student.main(["--folder", str(tmp_path / "copies")])  # again, over the old copies
