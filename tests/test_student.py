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


def exercise(kind):
    return f":::{{exercise}} A\n:label: ex-a\n\n*{kind}.* Why?\n:::"


WORDS = ("m", "*Your solution of ex-a, in words and formulas.*")
CODE = ("c", "# Your solution of ex-a.")


@pytest.mark.parametrize(("kind", "cells"), [("Derive", [WORDS]), ("Explore", [WORDS])])
def test_a_solution_in_words_becomes_an_empty_text(kind, cells):
    text = exercise(kind) + "\n\n::::{solution} ex-a\n:::{note}\nSo.\n:::\n::::\n\nOn."
    copy = student.without_solutions(notebook(("m", text)))
    assert sources(copy) == [("m", exercise(kind)), *cells, ("m", "On.")]


@pytest.mark.parametrize(
    ("kind", "cells"), [("Derive", [WORDS, CODE]), ("Compute", [CODE]), ("Explore", [CODE])]
)
def test_a_solution_in_code_becomes_a_code_cell_and_a_derivation_keeps_its_text(kind, cells):
    start = exercise(kind) + "\n\n:::{solution-start} ex-a\n:::\n\nIt is $x$."
    nb = notebook(("m", start), ("c", "x = 1"), ("m", ":::{solution-end}\n:::"))
    assert sources(student.without_solutions(nb)) == [("m", exercise(kind)), *cells]


def test_a_solution_in_code_goes_up_to_its_end():
    nb = notebook(
        ("m", exercise("Compute")),
        ("m", ":::{solution-start} ex-a\n:class: dropdown\n:::"),
        ("c", "secret = 1"),
        ("m", "A secret."),
        ("c", "more = 2"),
        ("m", ":::{solution-end}\n:::\n\nNext: ```{solution-end}```"),
        ("c", "kept = 3"),
    )
    assert sources(student.without_solutions(nb)) == [
        ("m", exercise("Compute")),
        CODE,
        ("m", "Next: ```{solution-end}```"),
        ("c", "kept = 3"),
    ]


def test_a_solution_without_end_is_an_error():
    with pytest.raises(ValueError, match="the solution of ex-a has no end"):
        student.without_solutions(
            notebook(("m", exercise("Compute") + "\n\n:::{solution-start} ex-a\n:::"), ("c", "x"))
        )


def test_an_exercise_keeps_its_check_and_the_check_its_fold():
    nb = notebook(
        ("m", exercise("Compute")),
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
    asked = re.findall(r"^[#*]+ ?Your solution of ([\w-]+)", text, re.M)
    assert list(dict.fromkeys(asked)) == labels != []
    assert all(f":label: {label}" in text for label in labels)


@pytest.mark.parametrize("path", CHAPTERS, ids=lambda p: p.stem)
def test_a_copy_runs_because_it_is_the_beginning_of_a_chapter_that_does(path):
    whole = nbformat.read(path, as_version=4)
    code = [c.source for c in whole.cells if c.cell_type == "code"]
    kept = [c.source for c in student.without_solutions(whole).cells if c.cell_type == "code"]
    kept = [source for source in kept if not source.startswith("# Your solution of ")]
    assert "Install the package" in code[0] and kept == code[1 : len(kept) + 1]
    assert len(kept) > 10


@pytest.mark.parametrize("path", CHAPTERS, ids=lambda p: p.stem)
def test_a_page_of_the_site_keeps_what_was_computed_and_the_checksum(path):
    whole = nbformat.read(path, as_version=4)
    copy = student.for_the_site(whole)
    text = "\n".join(cell.source for cell in copy.cells)
    assert "Your solution" not in text and "{solution" not in text
    code = [cell for cell in whole.cells if cell.cell_type == "code"]
    kept = [cell for cell in copy.cells if cell.cell_type == "code"]
    assert [c.outputs for c in kept] == [c.outputs for c in code[: len(kept)]]
    assert copy.metadata["whole"] == student.code_hash(whole)


# --- pages and slides ---------------------------------------------------------------------------


def test_a_page_loses_its_model_answers():
    answer = "::::{dropdown} Model answer\n:::{note}\nSo.\n:::\n::::\n\n"
    text = f"## 1. Why?\n\nWhy?\n\n{answer}## 2. Who?\n"
    assert student.page(text) == "## 1. Why?\n\nWhy?\n\n## 2. Who?\n"
    assert student.page("::::{dropdown} Proof\nSo.\n::::") == "::::{dropdown} Proof\nSo.\n::::"


def test_slides_lose_their_keys_and_what_the_speaker_says():
    text = (
        "# A\n\nNote: 3 minutes. Slowly.\n\n---\n\n## Vote: which?\n\n- **A** this\n\n. . .\n\n"
        "Key: A. So.\n\nNote: 4 minutes. Wait.\n\nMisconception: none.\n"
    )
    assert student.deck(text) == (
        "# A\n\nNote: 3 minutes.\n\n---\n\n## Vote: which?\n\n- **A** this\n\nNote: 4 minutes.\n\n"
    )


def test_the_command_writes_every_chapter(tmp_path, capsys):
    student.main(["--folder", str(tmp_path / "copies")])
    assert sorted(p.name for p in (tmp_path / "copies").glob("*.ipynb")) == [
        p.name for p in CHAPTERS
    ]
    assert f"{len(CHAPTERS)} notebooks without solutions" in capsys.readouterr().out
    student.main(["--folder", str(tmp_path / "copies")])  # again, over the old copies
