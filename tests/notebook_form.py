"""Check the form of the chapters, and correct what a machine can correct.

    python tests/notebook_form.py [paths]          list every departure from the rules
    python tests/notebook_form.py --fix [paths]    run the notebooks and write them in their form
    python tests/notebook_form.py --stats [paths]  count words and cells
    python tests/notebook_form.py --reading [paths]
                                                   how hard the pages are, by thermometers

A notebook in its form was run from top to bottom in a fresh kernel. It keeps the text that its
cells printed, which the tests compare, and drops pictures, HTML and times, which would differ from
one machine to the next. Running `--fix` twice therefore changes nothing the second time.

Its first code cell installs the package on Colab, from the repository whose address is the
environment variable LINDIFF_REPOSITORY when `--fix` runs; without the variable the address stays
as it is.
"""

import argparse
import copy
import os
import re
import sys
import tempfile
import warnings
from pathlib import Path

import nbformat
import reading_rules
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError
from nbformat.v4 import new_code_cell
from notebook_rules import (
    ADDRESS,
    COLAB,
    COLAB_FOLD,
    KERNEL,
    LANGUAGE,
    RULES,
    address,
    cell_id,
    code_cells,
    figure_name,
    markdown,
)

ROOT = Path(__file__).resolve().parent.parent


class FormError(Exception):
    """A notebook that cannot be brought into its form."""


def default_paths():
    """List the chapters, and the template from which a new one is copied."""
    return [*sorted((ROOT / "notebooks").glob("*.ipynb")), ROOT / "book" / "template.ipynb"]


def read(path):
    """Read a notebook; ids that are missing are a matter for the rules."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return nbformat.read(path, as_version=4)


def dump(notebook):
    """Return the text of a notebook: sorted keys, indent 1, one newline at the end."""
    return nbformat.writes(notebook, version=4).rstrip("\n") + "\n"


# --- fixing -------------------------------------------------------------------------------------


def fix(path, timeout=300):
    """Run the notebook at `path` and rewrite it in its form; True if the file changed.

    The file is replaced in one step, and only after the last cell has succeeded.
    """
    path = Path(path)
    notebook = read(path)
    before = path.read_text(encoding="utf-8")
    open_on_colab(notebook)
    run(notebook, path.parent, timeout)
    normalise(notebook)
    reading_rules.state_time(notebook)
    after = dump(notebook)
    if after != before:
        _replace(path, after)
    return after != before


def run(notebook, folder, timeout=300):
    """Execute all cells in a fresh kernel, in `folder`; FormError names the cell that fails."""
    normalise(notebook)
    started = []
    client = NotebookClient(
        notebook,
        timeout=timeout,
        coalesce_streams=True,
        record_timing=False,
        resources={"metadata": {"path": str(folder)}},
        on_cell_start=lambda cell, cell_index: started.append(cell_index + 1),
    )
    try:
        client.execute()
    except (CellExecutionError, CellTimeoutError, DeadKernelError) as error:
        where = f"cell {started[-1]}" if started else "the kernel"
        raise FormError(f"{where} failed: {_last_line(error)}") from error
    for number, cell in code_cells(notebook):
        for output in cell.outputs:
            if output.get("name") == "stderr":
                raise FormError(f"cell {number} writes to stderr: {output.text.strip()[:200]}")


def _last_line(error):
    lines = [line for line in str(error).splitlines() if line.strip()]
    return lines[-1] if lines else type(error).__name__


def open_on_colab(notebook):
    """Write the cell for Colab, in place, before all other code."""
    old = [cell for cell in notebook.cells if ADDRESS.search(cell.source)]
    where = os.environ.get("LINDIFF_REPOSITORY", "").strip() or address(
        (old or [new_code_cell()])[0]
    )
    notebook.cells = [cell for cell in notebook.cells if cell not in old]
    place = next((n - 1 for n, _ in code_cells(notebook)), len(notebook.cells))
    new = new_code_cell(COLAB.format(address=where), metadata=copy.deepcopy(COLAB_FOLD))
    notebook.cells.insert(place, new)


def normalise(notebook):
    """Drop from the notebook, in place, all that depends on the machine or on the moment."""
    notebook.nbformat, notebook.nbformat_minor = 4, 5
    notebook.metadata = nbformat.from_dict({"kernelspec": KERNEL, "language_info": LANGUAGE})
    for number, cell in enumerate(notebook.cells, 1):
        cell.id = cell_id(number)
        for name in ("execution", "collapsed", "trusted", "ExecuteTime"):
            cell.metadata.pop(name, None)
        if cell.cell_type == "code":
            if cell.metadata != COLAB_FOLD:
                reading_rules.fold(cell)
            cell.outputs = [kept for output in cell.outputs if (kept := _text_only(output))]


def _text_only(output):
    if "data" not in output:
        return output
    if "text/plain" not in output.data:
        return None
    output.data = nbformat.from_dict({"text/plain": output.data["text/plain"]})
    output.metadata = nbformat.from_dict({})
    return output


def _replace(path, text):
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=".", suffix=".tmp")
    try:
        with os.fdopen(handle, "w", encoding="utf-8", newline="\n") as file:
            file.write(text)
        os.chmod(temporary, path.stat().st_mode & 0o777)
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


# --- checking -----------------------------------------------------------------------------------


def as_written(path):
    """Yield a sentence if the file is not laid out as `--fix` would write it."""
    if Path(path).read_text(encoding="utf-8") != dump(read(path)):
        yield "the file is laid out differently (order of keys, indent 1, newline at the end)"


def repeated_names(paths):
    """Yield a sentence for each figure name that two of the notebooks share."""
    owner = {}
    for path in map(Path, paths):
        for _, cell in code_cells(read(path)):
            name = figure_name(cell)
            if name and owner.setdefault(name, path) != path:
                yield f"{path.name} and {owner[name].name} both have a figure {name}"


def check(paths):
    """Return every departure from the rules, as `path: rule: sentence`."""
    faults = [f"repeated_names: {text}" for text in repeated_names(paths)]
    for path in paths:
        notebook = read(path)
        for rule in RULES + reading_rules.RULES:
            faults += [f"{path}: {rule.__name__}: {text}" for text in rule(notebook)]
        faults += [f"{path}: as_written: {text}" for text in as_written(path)]
    return faults


def words(notebook):
    """Count the words a reader reads: a formula or a role is one, a directive's options none."""
    text = re.sub(r"^:\w[\w-]*:.*$|^[:`]{3,}.*$", "", markdown(notebook), flags=re.M)
    text = re.sub(r"\$\$.*?\$\$|\$[^$\n]+\$|\{[\w:]+\}`[^`]*`", " x ", text, flags=re.S)
    return len(text.split())


def stats(paths):
    """Return one line for each notebook: its words, code cells and cells with an assert."""
    lines = [f"{'words':>6} {'code':>5} {'assert':>6}  notebook"]
    for path in paths:
        notebook = read(path)
        code = [cell.source for _, cell in code_cells(notebook)]
        asserts = sum("assert" in source for source in code)
        lines.append(f"{words(notebook):6} {len(code):5} {asserts:6}  {Path(path).name}")
    return lines


def thermometers(paths):
    """Return one line for each notebook: how dense its open code is, and how long it takes."""
    goals = reading_rules.GOALS
    lines = [
        f"open cells: characters, median (goal {goals.characters}); names on a line of code, 90th "
        f"percentile ({goals.names}); new names in a cell ({goals.new}); cells that no sentence "
        f"announces ({goals.silent:.0%}); minutes of a first reading, and more",
        f"{'chars':>6} {'names':>6} {'new':>5} {'silent':>7} {'minutes':>8} {'more':>5}  notebook",
    ]
    for path in paths:
        found = reading_rules.reading(read(path))
        lines.append(
            f"{found.characters:6.0f} {found.names:6} {found.new:5.1f} {found.silent:7.0%} "
            f"{found.minutes:8} {found.more:5}  {Path(path).name}"
        )
    return lines


def main(arguments=None):
    """Run the tool from the command line; the exit status is 1 when something is wrong."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--fix", action="store_true", help="run the notebooks and rewrite them")
    parser.add_argument("--stats", action="store_true", help="count words and cells")
    parser.add_argument("--reading", action="store_true", help="measure how a page reads")
    parser.add_argument("paths", nargs="*", type=Path)
    options = parser.parse_args(arguments)
    paths = options.paths or [path for path in default_paths() if path.exists()]
    failed = False
    if options.fix:
        for path in paths:
            try:
                print(f"{path}: {'rewritten' if fix(path) else 'unchanged'}", flush=True)
            except FormError as error:
                failed = True
                print(f"{path}: left as it was: {error}", flush=True)
    faults = check(paths)
    tables = [*(stats(paths) if options.stats else ())]
    tables += thermometers(paths) if options.reading else []
    print(*faults, *tables, sep="\n", end="\n" if faults or tables else "")
    return 1 if failed or faults else 0


if __name__ == "__main__":
    sys.exit(main())
