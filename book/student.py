"""Write copies of the chapters without their solutions: `make student`.

Each solution becomes an empty cell in which the student's own goes. The copies keep no outputs.
"""

import argparse
import re
from pathlib import Path

import nbformat
from nbformat.v4 import new_code_cell, new_markdown_cell

ROOT = Path(__file__).resolve().parent.parent
FENCE = r"^(?P<fence>[:`]{3,})"
SOLUTION = re.compile(
    FENCE + r"\{solution(?P<gate>-start)?\} *(?P<label>\S+).*?^(?P=fence)[ \t]*$\n?", re.M | re.S
)
GATE = re.compile(FENCE + r"\{solution-end\}.*?^(?P=fence)[ \t]*$\n?", re.M | re.S)


def without_solutions(notebook):
    """Return the notebook with an empty cell in place of each solution.

    Raises
    ------
    ValueError
        If a solution has no end.
    """
    cells, open_label = [], None
    for cell in notebook.cells:
        if cell.cell_type != "markdown":
            if open_label is None:
                cells.append(new_code_cell(cell.source, metadata=cell.metadata))
            continue
        text = cell.source
        while text:
            if open_label is not None:
                end = GATE.search(text)
                if end is None:
                    break
                text, open_label = text[end.end() :], None
            found = SOLUTION.search(text)
            before = text[: found.start()] if found else text
            if before.strip():
                cells.append(new_markdown_cell(before.strip()))
            if not found:
                break
            cells.append(new_code_cell(f"# Your solution of {found['label']}."))
            text, open_label = text[found.end() :], found["label"] if found["gate"] else None
    if open_label is not None:
        raise ValueError(f"the solution of {open_label} has no end")
    for number, cell in enumerate(cells, 1):
        cell.id = f"cell-{number:03d}"
    return nbformat.v4.new_notebook(cells=cells, metadata=notebook.metadata)


def main(arguments=None):
    """Write the copies into the folder that the command line names."""
    parser = argparse.ArgumentParser(description=__doc__)
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
