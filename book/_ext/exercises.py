"""Read the exercises of a chapter with their solutions, and the table of `book/teaching/`."""

import re
from pathlib import Path
from typing import NamedTuple

import nbformat
import yaml

TABLE = "book/teaching/exercises.yml"
FENCE = r"^(?P<fence>[:`]{3,})"
EXERCISE = re.compile(
    FENCE + r"\{exercise\} *(?P<title>[^\n]*)\n:label: *(?P<label>\S+)\n"
    r"(?P<text>.*?)^(?P=fence)[ \t]*$",
    re.M | re.S,
)
SOLUTION = re.compile(
    FENCE + r"\{solution(?P<gate>-start)?\} *(?P<label>\S+)(?P<text>.*?)^(?P=fence)[ \t]*$\n?",
    re.M | re.S,
)
GATE = re.compile(FENCE + r"\{solution-end\}.*?^(?P=fence)[ \t]*$\n?", re.M | re.S)
OPTION = re.compile(r"^:\w+:.*\n?", re.M)
KIND = re.compile(r"\*(Derive|Compute|Explore)\b")


class Exercise(NamedTuple):
    """An exercise; `solution` lists texts and code cells."""

    label: str
    title: str
    kind: str
    text: str
    solution: list

    @property
    def has_code(self):
        """Return whether the solution computes something."""
        return any(not isinstance(piece, str) for piece in self.solution)

    @property
    def has_words(self):
        """Return whether the answer is given in words and formulas, at least in part."""
        return self.kind == "derive" or not self.has_code


def pieces(notebook):
    """Yield texts and code cells in order, each with the label of its solution, or with None.

    An empty text marks the place where a solution begins.

    Raises
    ------
    ValueError
        If a solution has no end.
    """
    label = None
    for cell in notebook.cells:
        if cell.cell_type != "markdown":
            yield cell, label
            continue
        text = cell.source
        while text:
            if label is not None:
                end = GATE.search(text)
                if end is None:
                    yield text.strip(), label
                    break
                if text[: end.start()].strip():
                    yield text[: end.start()].strip(), label
                text, label = text[end.end() :], None
            found = SOLUTION.search(text)
            before = text[: found.start()] if found else text
            if before.strip():
                yield before.strip(), None
            if not found:
                break
            yield "", found["label"]
            if found["gate"]:
                label = found["label"]
            else:
                yield OPTION.sub("", found["text"], count=1).strip(), found["label"]
            text = text[found.end() :]
    if label is not None:
        raise ValueError(f"the solution of {label} has no end")


def exercises(notebook):
    """List the exercises of a chapter in their order."""
    solutions, found = {}, []
    for piece, label in pieces(notebook):
        if label is not None and piece != "":
            solutions.setdefault(label, []).append(piece)
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            found += EXERCISE.finditer(cell.source)
    return [
        Exercise(
            one["label"],
            one["title"].strip(),
            KIND.search(one["text"])[1].lower(),
            one["text"].strip(),
            solutions.get(one["label"], []),
        )
        for one in found
    ]


def chapters(folder):
    """Map the path of each chapter of the book in `folder` to its notebook."""
    paths = sorted(Path(folder, "notebooks").glob("*.ipynb"))
    return {path: nbformat.read(path, as_version=4) for path in paths}


def table(folder):
    """Return the table of the exercises: minutes, needs and session for each label."""
    return yaml.safe_load(Path(folder, TABLE).read_text(encoding="utf-8"))
