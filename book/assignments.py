"""Write the assignments of the six sessions: `make assignments`.

Each text in `book/teaching/assignments/` names exercises of the chapters and adds what it takes to
set and grade them. From it come, in `_build/assignments/`,

    source/session-1/session-1.ipynb   for nbgrader, with solutions and hidden tests
    plain/session-1.ipynb              for students without nbgrader: `check` says what is right
    rubrics/session-1.md               model answers and points, for whoever grades

`nbgrader generate_assignment session-1`, called in that folder, makes the version for students.
"""

import argparse
import re
import shutil
import sys
import textwrap
from pathlib import Path
from typing import NamedTuple

import nbformat
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "book" / "_ext"))
from exercises import chapters, exercises  # noqa: E402
from references import Labels  # noqa: E402

FOLDER = ROOT / "book" / "teaching" / "assignments"
TASK = re.compile(r"^## (ex-[\w-]+)$", re.M)
BLOCK = re.compile(r"^```python (setup|answer|check|hidden)(?: (\d+))?\n(.*?)^```$", re.M | re.S)
MINUTES = re.compile(r"^Minutes: (\d+)$", re.M)
RUBRIC = re.compile(r"^Rubric:\n+((?:[-*] \d+:.*(?:\n+(?![-*#`]|$).*)*\n*)+)", re.M)
ITEM = re.compile(r"^[-*] (\d+): *", re.M)
SOLUTION = re.compile(r"^( *)### BEGIN SOLUTION\n.*?^ *### END SOLUTION$", re.M | re.S)
YOURS = "...  # your code"
CONFIGURATION = """c = get_config()
c.CourseDirectory.course_id = "diffusion_as_a_correlation_machine"
c.ClearSolutions.code_stub = {"python": "# your code\\nraise NotImplementedError()"}
"""
KERNEL = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
PLAIN_HELP = (
    "Write your answers into the cells below each exercise. A cell that begins with `@check` says "
    "whether your answer is right in some simple cases; it never stops the notebook. Start with "
    "the next cell."
)
GRADED_HELP = (
    "Write your answers into the cells below each exercise. The tests that you see say whether an "
    "answer is right in some simple cases; more tests run when it is graded. Derivations are read "
    "and graded by hand."
)


class Block(NamedTuple):
    """A piece of code of a task: an answer, a check that students see, or a hidden test."""

    kind: str
    points: int
    code: str


class Task(NamedTuple):
    """An exercise that is set, with what it takes to grade it."""

    exercise: object
    chapter: int
    minutes: int
    extra: str
    rubric: tuple  # of (points, text)
    blocks: tuple

    @property
    def points(self):
        """Return the points of the derivation and of the computation together."""
        return sum(points for points, _ in self.rubric) + sum(block.points for block in self.blocks)


class Assignment(NamedTuple):
    """What is set after one session."""

    name: str
    title: str
    intro: str
    setup: str
    tasks: tuple

    @property
    def minutes(self):
        """Return how long a student needs."""
        return sum(task.minutes for task in self.tasks)

    @property
    def points(self):
        """Return the points of all tasks."""
        return sum(task.points for task in self.tasks)


def catalogue(folder=ROOT):
    """Return the labels of all chapters, and for each exercise its chapter and itself."""
    found = chapters(folder)
    known = {
        exercise.label: (int(path.name[:2]), exercise)
        for path, notebook in found.items()
        for exercise in exercises(notebook)
    }
    return Labels(found, folder / "book" / "references.bib"), known


def read(path, known):
    """Return the assignment in the file `path`.

    Raises
    ------
    ValueError
        If the text has not the form that `book/teaching/assignments/` explains.
    """
    path = Path(path)
    head, *rest = TASK.split(path.read_text(encoding="utf-8"))
    title = re.match(r"# (.+)\n", head)
    setup = BLOCK.search(head)
    if title is None or setup is None or setup[1] != "setup":
        raise ValueError(f"{path.name}: expected a title and a block ```python setup")
    tasks = [_task(path, label, text, known) for label, text in _pairs(rest)]
    intro = BLOCK.sub("", head[title.end() :]).strip()
    return Assignment(path.stem, title[1].strip(), intro, setup[3].strip(), tuple(tasks))


def _pairs(texts):
    """Return the elements two by two."""
    return zip(texts[::2], texts[1::2], strict=True)


def _task(path, label, text, known):
    place = f"{path.name}, {label}"
    if label not in known:
        raise ValueError(f"{place}: no chapter has this exercise")
    minutes = MINUTES.search(text)
    if minutes is None:
        raise ValueError(f"{place}: expected a line like 'Minutes: 15'")
    blocks = tuple(Block(kind, int(n or 0), code.strip()) for kind, n, code in BLOCK.findall(text))
    rubric = RUBRIC.search(text)
    items = ITEM.split(rubric[1])[1:] if rubric else []
    points = tuple((int(n), " ".join(words.split())) for n, words in _pairs(items))
    kinds = {block.kind for block in blocks}
    if not points and kinds != {"answer", "check", "hidden"}:
        raise ValueError(f"{place}: expected a rubric, or blocks answer, check and hidden")
    for block in blocks:
        if (block.kind == "answer") == bool(block.points):
            raise ValueError(f"{place}: checks and hidden tests have points, answers have none")
    extra = RUBRIC.sub("", BLOCK.sub("", MINUTES.sub("", text))).strip()
    chapter, exercise = known[label]
    return Task(exercise, chapter, int(minutes[1]), extra, points, blocks)


# --- the texts that all versions share ----------------------------------------------------------


def heading(assignment, instruction):
    """Return the first cell of an assignment."""
    about = (
        f"*{len(assignment.tasks)} exercises, about {assignment.minutes} minutes, "
        f"{assignment.points} points.*"
    )
    return "\n\n".join([f"# {assignment.title}", assignment.intro, about, instruction])


def _points(number):
    return f"{number} point" + "s" * (number != 1)


def question(number, task, labels):
    """Return the text of an exercise, with its references in words."""
    title = task.exercise.title.replace("★", "").strip()
    worth = f"({_points(task.points)}, {task.minutes} minutes)"
    text = labels.plain(f"{task.exercise.text}\n\n{task.extra}".strip())
    return f"## {number}. {title} {worth}\n\n{text}"


def model_answer(task, labels):
    """Return the solution that the chapter has, with its code as text."""
    parts = [
        labels.plain(piece) if isinstance(piece, str) else f"```python\n{piece.source}\n```"
        for piece in task.exercise.solution
    ]
    return "\n\n".join(parts)


def rubric(task):
    """Return what earns the points of a derivation, as a list."""
    return "\n".join(f"- {points}: {text}" for points, text in task.rubric)


# --- three versions -----------------------------------------------------------------------------


def source(assignment, labels):
    """Return the notebook from which nbgrader makes what students get and what is graded."""
    cells = [
        _graded(new_markdown_cell(heading(assignment, GRADED_HELP)), "about", locked=True),
        _graded(new_code_cell(assignment.setup), "setup", locked=True),
    ]
    for number, task in enumerate(assignment.tasks, 1):
        name = task.exercise.label
        text = new_markdown_cell(question(number, task, labels))
        cells.append(_graded(text, f"{name}-text", locked=True))
        if task.rubric:
            words = f"{model_answer(task, labels)}\n\n**Points**\n\n{rubric(task)}"
            points = sum(points for points, _ in task.rubric)
            cell = new_markdown_cell(words)
            cells.append(_graded(cell, f"{name}-words", points=points, solution=True))
        for k, block in enumerate(task.blocks, 1):
            cell = f"{name}-{block.kind}-{k}"
            if block.kind == "answer":
                cells.append(_graded(new_code_cell(block.code), cell, solution=True))
                continue
            code = block.code
            if block.kind == "hidden":
                code = f"# more tests\n### BEGIN HIDDEN TESTS\n{code}\n### END HIDDEN TESTS"
            cells.append(_graded(new_code_cell(code), cell, points=block.points, locked=True))
    return _notebook(cells)


def _graded(cell, name, points=None, solution=False, locked=False):
    """Write what nbgrader has to know of a cell into its metadata (schema version 3)."""
    settings = {
        "schema_version": 3,
        "cell_type": cell.cell_type,
        "grade_id": name,
        "grade": points is not None,
        "solution": solution,
        "locked": locked,
        "task": False,
    }
    if points is not None:
        settings["points"] = points
    cell.metadata["nbgrader"] = settings
    return cell


def plain(assignment, labels):
    """Return the notebook for students without nbgrader, which needs nothing but lindiff."""
    setup = f"{assignment.setup}\n\nfrom lindiff.book.exercises import check"
    cells = [new_markdown_cell(heading(assignment, PLAIN_HELP)), new_code_cell(setup)]
    for number, task in enumerate(assignment.tasks, 1):
        cells.append(new_markdown_cell(question(number, task, labels)))
        if task.rubric:
            cells.append(new_markdown_cell("*Your answer, in words and formulas.*"))
        for block in task.blocks:
            if block.kind == "answer":
                cells.append(new_code_cell(SOLUTION.sub(rf"\1{YOURS}", block.code)))
            elif block.kind == "check":
                code = textwrap.indent(block.code, "    ")
                title = task.exercise.title.replace("★", "").strip()
                cells.append(new_code_cell(f'@check("{title}")\ndef test():\n{code}'))
    return _notebook(cells)


def grading(assignment, labels):
    """Return model answers and points, as a page in Markdown."""
    lines = [f"# {assignment.title}: for grading", f"{assignment.points} points."]
    for number, task in enumerate(assignment.tasks, 1):
        lines += [question(number, task, labels), "### Model answer", model_answer(task, labels)]
        if task.rubric:
            lines += ["### Points for words and formulas", rubric(task)]
        for block in task.blocks:
            worth = f" ({_points(block.points)})" if block.points else ""
            lines.append(f"### {block.kind.title()}{worth}\n\n```python\n{block.code}\n```")
    return "\n\n".join(lines) + "\n"


def _notebook(cells):
    for number, cell in enumerate(cells, 1):
        cell.id = f"cell-{number:03d}"
    return new_notebook(cells=cells, metadata=KERNEL)


def main(arguments=None):
    """Write all versions into the folder that the command line names."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--folder", type=Path, default=ROOT / "_build" / "assignments")
    folder = parser.parse_args(arguments).folder
    labels, known = catalogue()
    for part in ("source", "plain", "rubrics"):
        shutil.rmtree(folder / part, ignore_errors=True)
        (folder / part).mkdir(parents=True)
    for path in sorted(FOLDER.glob("*.md")):
        assignment = read(path, known)
        name = assignment.name
        (folder / "source" / name).mkdir()
        nbformat.write(source(assignment, labels), folder / "source" / name / f"{name}.ipynb")
        nbformat.write(plain(assignment, labels), folder / "plain" / f"{name}.ipynb")
        page = grading(assignment, labels)
        (folder / "rubrics" / f"{name}.md").write_text(page, encoding="utf-8")
        count, minutes = len(assignment.tasks), assignment.minutes
        print(f"{name}: {count} exercises, {minutes} minutes, {assignment.points} points")
    (folder / "nbgrader_config.py").write_text(CONFIGURATION, encoding="utf-8")
    print(f"Assignments in {folder}")


if __name__ == "__main__":
    main()
