"""Leave out what only the teacher needs.

    python book/student.py      copies of the chapters without their solutions: `make student`

In place of each solution a copy has an empty cell for the student's own: text for a derivation,
code for a computation, both where the exercise asks for both. The copies keep no outputs. The
functions serve `make book SOLUTIONS=no` as well.
"""

import argparse
import re
import sys
from pathlib import Path

import nbformat
from nbformat.v4 import new_code_cell, new_markdown_cell

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "book" / "_ext"))
from exercises import exercises, pieces  # noqa: E402
from robustness import code_hash  # noqa: E402

KEYS = ("Model answer", "Key and misconception")  # titles of folds that are not for students
ANSWER = re.compile(
    r"^(?P<fence>:{3,})\{dropdown\} (?:" + "|".join(KEYS) + r").*?^(?P=fence)[ \t]*$\n*",
    re.M | re.S,
)
KEY = re.compile(r"^\. \. \.\s+Key:.*?(?=^Note:)", re.M | re.S)
NOTE = re.compile(r"^(Note: \d+ minutes?\.).*?(?=^---$|\Z)", re.M | re.S)


def without_solutions(notebook, answers=True, outputs=False):
    """Return the notebook without its solutions.

    With `answers`, each leaves empty cells in its place, and the cell that installs the package
    goes. With `outputs`, the other cells keep what they have computed.

    Raises
    ------
    ValueError
        If a solution has no end.
    """
    known = {exercise.label: exercise for exercise in exercises(notebook)}
    cells = []
    for piece, label in pieces(notebook):
        if label is not None:
            if piece == "" and answers:
                cells += answer_cells(known[label])
        elif isinstance(piece, str):
            cells.append(new_markdown_cell(piece))
        elif not (answers and "remove-cell" in piece.metadata.get("tags", [])):
            kept = new_code_cell(piece.source, metadata=piece.metadata)
            if outputs:
                kept.outputs, kept.execution_count = piece.outputs, piece.execution_count
            cells.append(kept)
    for number, cell in enumerate(cells, 1):
        cell.id = f"cell-{number:03d}"
    return nbformat.v4.new_notebook(cells=cells, metadata=notebook.metadata)


def for_the_site(notebook):
    """Return the notebook as the site without solutions shows it.

    It remembers the checksum of the whole, to which the results of `make reseed` belong.
    """
    copy = without_solutions(notebook, answers=False, outputs=True)
    copy.metadata["whole"] = code_hash(notebook)
    return copy


def answer_cells(exercise):
    """Return the empty cells in which a student answers."""
    words = new_markdown_cell(f"*Your solution of {exercise.label}, in words and formulas.*")
    code = new_code_cell(f"# Your solution of {exercise.label}.")
    return [words] * exercise.has_words + [code] * exercise.has_code


def page(text):
    """Return a page of the book without model answers and keys of votes."""
    return ANSWER.sub("", text)


def deck(text):
    """Return the text of slides without keys, and with no more than the minutes in the notes."""
    return NOTE.sub(r"\1\n\n", KEY.sub("", text))


def main(arguments=None):
    """Write the copies into the folder that the command line names."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--folder", type=Path, default=ROOT / "_build" / "student")
    folder = parser.parse_args(arguments).folder
    folder.mkdir(parents=True, exist_ok=True)
    paths = sorted((ROOT / "notebooks").glob("*.ipynb"))
    for path in paths:
        copy = without_solutions(nbformat.read(path, as_version=4))
        nbformat.write(copy, folder / path.name)
    print(f"{len(paths)} notebooks without solutions in {folder}")


if __name__ == "__main__":
    main()
