"""The rules for the form of a chapter, one function each.

A rule takes a notebook and yields one sentence for each departure from it. `notebook_form.py` is
the tool that applies them; its `--fix` takes care of those that a machine can satisfy.
"""

import ast
import re
from pathlib import Path

SOURCE = Path(__file__).parents[1]
MIN_ASSERTING_CELLS = 3
MIN_ALT = 30
MAX_CAPTION_WORDS = 60  # of a caption that says what the line, the marker and the band are
IGNORED = "nbval-ignore-output"
KERNEL = {"display_name": "Python 3", "language": "python", "name": "python3"}
LANGUAGE = {"name": "python"}
SHELL = re.compile(
    r"^\s*(?:!|%(?:pip|conda|sx|system)\b|%%(?:bash|sh|script|system|sx|!)|.*\bget_ipython\(\))"
)
IMPORT = re.compile(r"^ *from (lindiff[\w.]*) import (\([^)]*\)|[^(\n]+)$", re.M)
TITLE = re.compile(r"(?:\([\w-]+\)=\s*)*# \S")
FILE_NAME = re.compile(r"\S+\.(?:png|jpe?g|gif|svg|webp|pdf)", re.I)

COLAB = """\
# @title Install the package (on Colab; elsewhere this cell does nothing)
import sys

if "google.colab" in sys.modules:
    import subprocess

    REPOSITORY = "{address}"
    if not REPOSITORY:
        raise ValueError("write the address of the repository in the quotes")
    package = "lindiff[cluster,data,deep] @ git+" + REPOSITORY
    pip = [sys.executable, "-m", "pip", "install", "--quiet"]
    subprocess.run([*pip, package], check=True)"""
COLAB_FOLD = {"cellView": "form", "jupyter": {"source_hidden": True}, "tags": ["remove-cell"]}
ADDRESS = re.compile(r'^ +REPOSITORY = "(.*)"$', re.M)


def cell_id(number):
    """Return the id of the cell at place `number`, counted from 1."""
    return f"cell-{number:03d}"


def code_cells(notebook):
    """List the code cells with their places, counted from 1 over all cells."""
    return [(n, cell) for n, cell in enumerate(notebook.cells, 1) if cell.cell_type == "code"]


def markdown(notebook):
    """Return all text of the notebook."""
    return "\n\n".join(cell.source for cell in notebook.cells if cell.cell_type == "markdown")


def _tags(cell):
    return cell.metadata.get("tags", [])


def executed_in_order(notebook):
    """Every code cell was run, from top to bottom."""
    for expected, (number, cell) in enumerate(code_cells(notebook), 1):
        if cell.execution_count != expected:
            yield f"cell {number}: execution count {cell.execution_count}, expected {expected}"


def fixed_ids(notebook):
    """Cell ids follow from the place of the cell, so that they never differ by chance."""
    for number, cell in enumerate(notebook.cells, 1):
        if cell.get("id") != cell_id(number):
            yield f"cell {number}: id {cell.get('id')}, expected {cell_id(number)}"


def text_outputs_only(notebook):
    """No picture, HTML or message on stderr is stored."""
    for number, cell in code_cells(notebook):
        for output in cell.outputs:
            extra = sorted(set(output.get("data", {})) - {"text/plain"})
            if extra:
                yield f"cell {number}: stores {', '.join(extra)}"
            if output.get("name") == "stderr" or output.output_type == "error":
                yield f"cell {number}: stores an error or a message on stderr"
    if re.search(r"data:image/[\w+.-]+;base64", markdown(notebook)):
        yield "a text cell holds an image"
    for number, cell in enumerate(notebook.cells, 1):
        if cell.get("attachments"):
            yield f"cell {number}: has an attachment"


def no_timestamps(notebook):
    """Nothing is stored that depends on the machine or on the moment."""
    for number, cell in enumerate(notebook.cells, 1):
        for name in {"execution", "ExecuteTime"} & set(cell.metadata):
            yield f"cell {number}: has the metadata {name}"
    expected = {"kernelspec": KERNEL, "language_info": LANGUAGE}
    if notebook.metadata != expected:
        yield f"notebook metadata {dict(notebook.metadata)}, expected {expected}"


def opens_on_colab(notebook):
    """The first code cell, folded, installs the package where a notebook is opened without it."""
    number, cell = next(iter(code_cells(notebook)), (1, None))
    if cell is None or cell.source != COLAB.format(address=address(cell)):
        yield f"cell {number}: not the cell that installs lindiff on Colab; `--fix` writes it"
    elif cell.metadata != COLAB_FOLD:
        yield f"cell {number}: metadata {dict(cell.metadata)}, expected {COLAB_FOLD}"


def address(cell):
    """Return the address of the repository that the cell for Colab has, perhaps empty."""
    found = ADDRESS.search(cell.source)
    return found[1] if found else ""


def no_shell(notebook):
    """No cell calls the shell or installs packages: such a cell passes even when it fails."""
    for number, cell in code_cells(notebook):
        for line in cell.source.splitlines():
            if SHELL.match(line):
                yield f"cell {number}: shell line {line.strip()}"


def _exported(package):
    """Names that a package offers, read from its `__all__`."""
    tree = ast.parse((SOURCE / package.replace(".", "/") / "__init__.py").read_text())
    (listed,) = [
        node.value
        for node in tree.body
        if isinstance(node, ast.Assign) and node.targets[0].id == "__all__"
    ]
    return set(ast.literal_eval(listed))


def one_import_path(notebook):
    """Each name of the package is imported from one place: where it is offered."""
    for number, cell in code_cells(notebook):
        # a rule reads cells that may not be Python, such as one with a shell line
        for module, names in IMPORT.findall(cell.source):
            for package in ("lindiff", "lindiff.deep"):
                for name in sorted(_exported(package) & set(re.findall(r"\w+", names))):
                    if module.startswith(f"{package}."):
                        yield f"cell {number}: {name} from {module}, expected from {package}"


def described_figures(notebook):
    """Each figure cell has a caption, a name for references, and words for a screen reader."""
    seen = set()
    for number, cell in code_cells(notebook):
        if "plt.show(" in cell.source:
            for fault in _figure_faults(cell):
                yield f"cell {number}: {fault}"
        name = figure_name(cell)
        if name and name in seen:
            yield f"cell {number}: a second figure is named {name}"
        seen.add(name)


def figure_name(cell):
    """Return the name of the figure that the cell draws, or None."""
    interactive = re.search(r"\bFrames\(.*?\bname=[\"']([\w-]+)", cell.source, re.S)
    if interactive:
        return interactive[1]
    return cell.metadata.get("mystnb", {}).get("figure", {}).get("name")


def _figure_faults(cell):
    settings = cell.metadata.get("mystnb", {})
    alt = settings.get("image", {}).get("alt", "")
    caption = settings.get("figure", {}).get("caption", "")
    words = len(re.sub(r"\$[^$]*\$|\{\w[\w:]*\}`[^`]*`", "x", caption).split())
    if len(alt) < MIN_ALT:
        yield f"mystnb image.alt has {len(alt)} characters, at least {MIN_ALT}"
    elif FILE_NAME.fullmatch(alt) or alt == caption:
        yield "mystnb image.alt is a file name or the caption, not what the figure shows"
    if not 1 <= words <= MAX_CAPTION_WORDS:
        yield f"mystnb figure.caption has {words} words, 1 to {MAX_CAPTION_WORDS}"
    if not (figure_name(cell) or "").startswith("fig-"):
        yield "mystnb figure.name does not start with fig-"


def tagged_cells(notebook):
    """Only interactive figures may show something that is not compared along with an assert."""
    for number, cell in code_cells(notebook):
        interactive = re.search(r"^(?!\s*def\b).*\b[Ff]rames\(", cell.source, re.M)
        if interactive and IGNORED not in _tags(cell):
            yield f"cell {number}: shows frames and lacks the tag {IGNORED}"
        if IGNORED in _tags(cell) and not interactive and _asserts(cell):
            yield f"cell {number}: has an assert and the tag {IGNORED}"


def _asserts(cell):
    return re.search(r"^\s*assert\b|\bassert_\w+\(", cell.source, re.M)


def enough_asserts(notebook):
    """A chapter asserts what it claims."""
    count = sum(1 for _, cell in code_cells(notebook) if _asserts(cell))
    if count < MIN_ASSERTING_CELLS:
        yield f"{count} cells with an assert, at least {MIN_ASSERTING_CELLS}"


def compared_output(notebook):
    """At least one printed value is compared when the tests run the notebook again."""
    for _, cell in code_cells(notebook):
        if IGNORED in _tags(cell):
            continue
        for output in cell.outputs:
            text = output.get("text") or output.get("data", {}).get("text/plain", "")
            if text.strip() and not text.startswith("<"):
                return
    yield "no cell has a printed value that is compared"


def sections(notebook):
    """A chapter opens with its title and has a summary and exercises."""
    first = notebook.cells[0] if notebook.cells else None
    if first is None or first.cell_type != "markdown" or not TITLE.match(first.source):
        yield "cell 1: not a text cell that starts with the title"
    titles = re.findall(r"^#+ (.*?)\s*$", markdown(notebook), re.M)
    for needed in ("Summary", "Exercises"):
        if needed not in titles:
            yield f"no section called {needed}"


def solved_exercises(notebook):
    """Each exercise has a label and a solution, and each solution an exercise."""
    text = markdown(notebook)
    blocks = re.findall(r"^[:`]{3,}\{exercise(?:-start)?\}.*\n((?::\w+:.*\n)*)", text + "\n", re.M)
    labels = [label for block in blocks for label in re.findall(r":label: (\S+)", block)]
    solved = re.findall(r"^[:`]{3,}\{solution(?:-start)?\} *(\S+)", text, re.M)
    if len(labels) < len(blocks):
        yield f"{len(blocks) - len(labels)} exercises without a label"
    for kind in ("exercise", "solution"):
        opened = len(re.findall(rf"^[:`]{{3,}}\{{{kind}-start\}}", text, re.M))
        closed = len(re.findall(rf"^[:`]{{3,}}\{{{kind}-end\}}", text, re.M))
        if opened != closed:
            yield f"{opened} {kind}-start and {closed} {kind}-end"
    for label in sorted(set(labels) - set(solved)):
        yield f"exercise {label} has no solution"
    for label in sorted(set(solved) - set(labels)):
        yield f"solution to {label}, which is no exercise of this chapter"


RULES = [
    executed_in_order,
    fixed_ids,
    text_outputs_only,
    no_timestamps,
    opens_on_colab,
    no_shell,
    one_import_path,
    described_figures,
    tagged_cells,
    enough_asserts,
    compared_output,
    sections,
    solved_exercises,
]
