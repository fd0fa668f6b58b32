"""Assignments: each runs, is graded by nbgrader, and gives nothing away."""

import contextlib
import io
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import assignments
import nbformat
import pytest

ROOT = Path(__file__).parents[1]
LABELS, KNOWN = assignments.catalogue()
SETS = [assignments.read(path, KNOWN) for path in sorted(assignments.FOLDER.glob("*.md"))]
EACH = pytest.mark.parametrize("one", SETS, ids=[one.name for one in SETS])
ROLES = re.compile(r"\{(?:prf:ref|ref|eq|numref|cite.*)\}`|\]\((?!http)[^)]*\)|^[:`]{3,}\{", re.M)


def test_there_is_one_for_each_session():
    assert [one.name for one in SETS] == [f"session-{k}" for k in range(1, 7)]


@EACH
def test_an_assignment_is_an_evening_of_both_kinds(one):
    assert 75 <= one.minutes <= 100 and 20 <= one.points <= 30
    assert 4 <= len(one.tasks) <= 6
    assert any(task.rubric for task in one.tasks) and any(task.blocks for task in one.tasks)
    for task in one.tasks:
        kinds = [block.kind for block in task.blocks]
        assert kinds == [] or set(kinds) == {"answer", "check", "hidden"}, task.exercise.label
        assert task.exercise.kind != "derive" or task.rubric, task.exercise.label


@EACH
def test_the_page_for_instructors_says_how_much_it_is(one):
    page = (ROOT / "book" / "for-instructors.md").read_text(encoding="utf-8")
    size = f"({len(one.tasks)} exercises, {one.minutes} minutes, {one.points} points)"
    assert f"assignment `{one.name}` {size}" in page


@EACH
def test_its_text_stands_alone(one):
    for number, task in enumerate(one.tasks, 1):
        text = assignments.question(number, task, LABELS)
        assert ROLES.findall(text) == [], task.exercise.label
        assert ROLES.findall(assignments.model_answer(task, LABELS)) == [], task.exercise.label


def texts(notebook):
    return "\n".join(cell.source for cell in notebook.cells)


def run_plain(one, answered):
    """Run the plain notebook, with the reference answers or without any; return what it prints."""
    answers = iter([b.code for task in one.tasks for b in task.blocks if b.kind == "answer"])
    names, printed = {}, io.StringIO()
    with contextlib.redirect_stdout(printed):
        for cell in assignments.plain(one, LABELS).cells:
            if cell.cell_type == "code":
                yours = assignments.YOURS in cell.source
                exec(next(answers) if yours and answered else cell.source, names)
    return printed.getvalue()


@EACH
def test_plain_checks_pass_with_the_reference_answers(one):
    told = run_plain(one, answered=True)
    checks = sum(block.kind == "check" for task in one.tasks for block in task.blocks)
    assert told.count("Right in these cases: ") == checks > 0, told
    assert "Not " not in told


@EACH
def test_plain_checks_ask_for_an_answer_and_stop_nothing(one):
    told = run_plain(one, answered=False)
    checks = sum(block.kind == "check" for task in one.tasks for block in task.blocks)
    assert told.count("Not ready yet: ") + told.count("Not right yet: ") == checks
    assert "Right in these cases: " not in told


@EACH
def test_plain_notebooks_have_no_solution_and_no_hidden_test(one):
    text = texts(assignments.plain(one, LABELS))
    assert "SOLUTION" not in text and "nbgrader" not in text
    for task in one.tasks:
        if task.rubric:
            assert task.exercise.solution[0][:60] not in text
        for block in task.blocks:
            assert block.kind != "hidden" or block.code not in text


# --- nbgrader -----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def course(tmp_path_factory):
    """The folder that `make assignments` writes, and what nbgrader gives two students."""
    folder = tmp_path_factory.mktemp("course")
    assignments.main(["--folder", str(folder)])
    done = subprocess.run(
        [sys.executable, ROOT / "tests" / "grade.py", folder],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return folder, json.loads(done.stdout)


@EACH
def test_nbgrader_gives_the_reference_all_points_and_an_empty_copy_none(one, course):
    _, results = course
    blocks = [block for task in one.tasks for block in task.blocks]
    words = [task for task in one.tasks if task.rubric]
    reference, empty = results[one.name]["reference"], results[one.name]["empty"]
    assert reference["failed"] == [] and reference["waiting"] == len(words)
    assert reference["tests"] == reference["of"] == sum(block.points for block in blocks)
    assert reference["words"] + reference["of"] == one.points
    assert empty["tests"] == 0 and empty["waiting"] == 0
    assert len(empty["failed"]) == sum(block.kind != "answer" for block in blocks)


@EACH
def test_what_nbgrader_hands_out_has_no_solution_and_no_hidden_test(one, course):
    folder, _ = course
    released = nbformat.read(folder / "release" / one.name / f"{one.name}.ipynb", as_version=4)
    text = texts(released)
    assert "SOLUTION" not in text and "HIDDEN" not in text
    assert text.count("YOUR ANSWER HERE") == sum(bool(task.rubric) for task in one.tasks)
    for block in (block for task in one.tasks for block in task.blocks):
        assert (block.code in text) == (block.kind == "check")


@EACH
def test_graders_get_the_model_answers_and_the_points(one, course):
    folder, _ = course
    page = (folder / "rubrics" / f"{one.name}.md").read_text(encoding="utf-8")
    for task in one.tasks:
        for points, words in task.rubric:
            assert f"- {points}: {words}" in page
        for block in task.blocks:
            assert block.code in page


# --- what is wrong in a text is named -----------------------------------------------------------

SETUP = "# A\n\n```python setup\nx = 1\n```\n\n"
BLOCKS = "```python answer\n```\n```python check 2\n```\n```python hidden 1\n```\n"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("# A\n", "expected a title and a block ```python setup"),
        (SETUP + "## ex-none\nMinutes: 5\n", "ex-none: no chapter has this exercise"),
        (SETUP + "## ex-01-half\n" + BLOCKS, "ex-01-half: expected a line like 'Minutes: 15'"),
        (SETUP + "## ex-01-half\nMinutes: 5\n", "expected a rubric, or blocks answer, check"),
        (
            SETUP + "## ex-01-half\nMinutes: 5\n" + BLOCKS.replace("check 2", "check"),
            "checks and hidden tests have points",
        ),
    ],
)
def test_a_text_of_another_form_is_named(tmp_path, text, words):
    path = tmp_path / "session-9.md"
    path.write_text(text)
    with pytest.raises(ValueError, match=words):
        assignments.read(path, KNOWN)


def test_references_become_words_and_equations_are_repeated():
    text = "By {prf:ref}`thm-wiener`, {eq}`eq-cosines` and {ref}`ours <ex-01-two>` {cite}`a`."
    plain = LABELS.plain(text)
    assert "the theorem “" in plain and "of chapter 1" in plain
    assert "ours (the exercise “Two points” of chapter 1)." in plain
    assert "equation (A) below" in plain
    assert plain.endswith("*(A)*\n\n$$\n" + LABELS.formulas["eq-cosines"] + "\n$$")
    figure = LABELS.plain("See {numref}`fig-01-errors`.")
    assert figure == "See the figure “the error of five denoisers on held-out digits” of chapter 1."
    assert LABELS.plain("*Derive.* {prf:ref}`thm-wiener`").startswith("*Derive.* The theorem “")
    assert LABELS.plain("[](02_power_iteration.ipynb)") == "chapter 2"
    with pytest.raises(ValueError, match="unknown label 'thm-none'"):
        LABELS.plain("{prf:ref}`thm-none`")
    assert LABELS.plain("{cite:t}`weitzner2024relation` say").endswith(" et al. (2024) say")
