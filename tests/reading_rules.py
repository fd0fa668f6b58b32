"""Rules for chapters that are written for their readers, and thermometers that find hard pages.

A chapter has three kinds of code cells. An *idea* stands open: what the reader should be able to
write. A *figure* and a *check* are folded, and say in their first line what is inside:

    # @title Figure: the gain falls as the noise grows
    # @title Check: the gain is one half at equal signal and noise

From that line `--fix` writes what the page, JupyterLab and Colab need to fold the cell.

The rules are few and hard. The thermometers measure how dense the open code is; they fail only
far off. They are there to find pages worth rereading: a page written to them instead of to a
reader has missed the point.
"""

import ast
import re
import statistics
from typing import NamedTuple

# The chapters of this form, by number.
COLUMNS = 79
TITLE = re.compile(r"# @title (Figure|Check): (\S.*)")
FOLDS = {"Figure": "hide-input", "Check": "hide-cell"}
TEXT_ONLY = "(values of the text)"
DRAWS = re.compile(r"\bplt\.show\(|^(?!\s*def\b).*\bFrames\(", re.M)
SOLUTION = re.compile(r"^[:`]{3,}\{solution-(start|end)\}", re.M)
CHANGES = {
    "add", "append", "clear", "discard", "extend", "fill", "insert", "pop", "popitem", "remove",
    "reverse", "setdefault", "shuffle", "sort", "update", "write",
}  # fmt: skip
COMPREHENSIONS = (ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)
# Seconds that a reader spends on a word (150 a minute), on an inline and a displayed formula, on a
# figure and on a line of open code: estimates, for somebody who reads with a pencil.
WORD, INLINE, DISPLAYED, FIGURE, LINE = 0.4, 4.0, 25.0, 40.0, 4.0
STEP = 5  # minutes are stated in steps of five


# --- kinds of cells -----------------------------------------------------------------------------


def kind(cell):
    """Return "Figure" or "Check" for a cell that is folded, else "idea"."""
    found = TITLE.match(cell.source)
    return found[1] if found else "idea"


def fold(cell):
    """Write, in place, what folds a cell on the page, in JupyterLab and on Colab, or unfolds it."""
    found = TITLE.match(cell.source)
    tags = [tag for tag in cell.metadata.get("tags", []) if tag not in FOLDS.values()]
    settings = dict(cell.metadata.get("mystnb", {}))
    for name in ("code_prompt_show", "code_prompt_hide"):
        settings.pop(name, None)
        if found:
            settings[name] = f"{found[1]}: {found[2]}"
    if found:
        tags.append(FOLDS[found[1]])
        cell.metadata["cellView"] = "form"
        cell.metadata["jupyter"] = {"source_hidden": True}
    elif "cellView" in cell.metadata:
        del cell.metadata["cellView"]
        cell.metadata.pop("jupyter", None)
    for name, value in (("tags", tags), ("mystnb", settings)):
        cell.metadata.pop(name, None)
        if value:
            cell.metadata[name] = value


class Cell(NamedTuple):
    """A code cell with its number among all cells, and whether it belongs to a solution."""

    number: int
    cell: object
    tree: ast.Module
    solution: bool
    announced: bool  # a text cell stands before it

    @property
    def kind(self):
        """Return what the cell is for."""
        return kind(self.cell)


def parsed(notebook):
    """List the code cells that a reader sees."""
    found, inside, before = [], False, None
    for number, cell in enumerate(notebook.cells, 1):
        if "remove-cell" in cell.metadata.get("tags", []):
            continue
        if cell.cell_type == "markdown":
            for mark in SOLUTION.finditer(cell.source):
                inside = mark[1] == "start"
        else:
            tree, told = ast.parse(cell.source), before == "markdown"
            found.append(Cell(number, cell, tree, inside, told))
        before = cell.cell_type
    return found


# --- hard rules ---------------------------------------------------------------------------------


def narrow_code(notebook):
    """Code has at most 79 columns: an open cell fits the page and does not scroll sideways."""
    for one in parsed(notebook):
        for line in one.cell.source.splitlines():
            if len(line) > COLUMNS:
                yield f"cell {one.number}: {len(line)} columns: {line.strip()[:60]}"


def folded_cells(notebook):
    """Figures and checks are folded beneath a title; an idea has at most one assertion."""
    for one in parsed(notebook):
        count = sum(isinstance(node, ast.Assert) for node in ast.walk(one.tree))
        count += one.cell.source.count("assert_allclose(")
        draws = bool(DRAWS.search(one.cell.source))
        if one.cell.source.startswith("# @title") and one.kind == "idea":
            yield f"cell {one.number}: the title names no kind; expected Figure: or Check:"
        if draws != (one.kind == "Figure"):
            yield f"cell {one.number}: {'' if draws else 'not '}a figure, titled as {one.kind}"
        if one.kind == "Check" and not count:
            yield f"cell {one.number}: a check without an assertion"
        if one.kind == "Figure" and count:
            yield f"cell {one.number}: a figure with {count} assertions"
        if one.kind == "idea" and count > 1 and not one.solution:
            yield f"cell {one.number}: {count} assertions in an open cell, expected at most one"
        before = dict(one.cell.metadata)
        fold(one.cell)
        if before != dict(one.cell.metadata):
            yield f"cell {one.number}: not folded as its title says; `--fix` does it"


def told_assertions(notebook):
    """An assertion that fails says both numbers: what was found, and what was expected."""
    for one in parsed(notebook):
        for node in ast.walk(one.tree):
            if isinstance(node, ast.Assert) and _numbers(node.msg) < 2:
                line = one.cell.source.splitlines()[node.lineno - 1].strip()
                yield f"cell {one.number}: a message without two numbers: {line[:60]}"


def _numbers(message):
    """Count what an f-string fills in, and the numbers that it spells out."""
    if not isinstance(message, ast.JoinedStr):
        return 0
    filled = sum(isinstance(part, ast.FormattedValue) for part in message.values)
    spelled = "".join(str(p.value) for p in message.values if isinstance(p, ast.Constant))
    return filled + len(re.findall(r"\d+(?:\.\d+)?|\b(?:none|zero|one|two)\b", spelled))


def checks_define_nothing(notebook):
    """No cell needs a name that a check defines: a check can fail, and can be left out."""
    owner = {}
    for one in parsed(notebook):
        bound = _bound(one.tree)
        for name in sorted(_loaded(one.tree) - bound):
            if name in owner and owner[name].kind == "Check":
                yield f"cell {one.number}: uses {name} of the check in cell {owner[name].number}"
        owner.update(dict.fromkeys(bound, one))


def _bound(tree):
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            names.add(node.id)
        elif isinstance(node, ast.FunctionDef | ast.ClassDef):
            names.add(node.name)
        elif isinstance(node, ast.alias):
            names.add((node.asname or node.name).partition(".")[0])
        elif isinstance(node, ast.arg):
            names.add(node.arg)
    return names


def _loaded(tree):
    return {
        node.id
        for node in ast.walk(tree)
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load)
    }


def plain_expressions(notebook):
    """An expression has no side effect, and a comprehension none inside it."""
    for one in parsed(notebook):
        statements = {
            id(node.value) for node in ast.walk(one.tree) if isinstance(node, ast.Expr | ast.Assign)
        }
        for node in ast.walk(one.tree):
            if isinstance(node, ast.NamedExpr):
                yield f"cell {one.number}: an assignment inside an expression (:=)"
            if isinstance(node, ast.Call) and id(node) not in statements:
                name = node.func.attr if isinstance(node.func, ast.Attribute) else ""
                if name in CHANGES and not _of_numpy(node.func):
                    yield f"cell {one.number}: .{name}() inside an expression"
            if isinstance(node, COMPREHENSIONS):
                inner = [n for n in ast.walk(node) if isinstance(n, COMPREHENSIONS)]
                if len(inner) > 1:
                    yield f"cell {one.number}: a comprehension inside a comprehension"


def _of_numpy(function):
    """`np.sort(x)` returns a sorted copy; only the method `x.sort()` changes x."""
    return isinstance(function.value, ast.Name) and function.value.id in ("np", "torch")


def state_time(notebook):
    """Write the line with the time, in place, where a chapter has such a line."""
    first = notebook.cells[0]
    line = time_line(notebook)
    first.source = re.sub(
        r"^\*\*Time\*\* \d+ minutes for.*$", lambda _: line, first.source, flags=re.M
    )


def stated_time(notebook):
    """The time that a chapter asks for is what its words, formulas, figures and lines take."""
    first = notebook.cells[0].source
    if time_line(notebook) not in first:
        yield f"cell 1: expected the line: {time_line(notebook)}"


def first_reading(notebook):
    """A chapter says what a first reading leaves out, and what one needs to know before."""
    for needed in ("**You will**", "**You need**", "**First reading**"):
        if needed not in notebook.cells[0].source:
            yield f"cell 1: no {needed}"


def changeable(notebook):
    """Some cells say which other values of their parameters a reader may try."""
    runs = 0
    for one in parsed(notebook):
        choices = one.cell.metadata.get("alternatives", [])
        runs = max(runs, len(choices))
        top = {n.targets[0].id: n for n in one.tree.body if _is_parameter(n)}
        for name in sorted({name for choice in choices for name in choice} - top.keys()):
            yield f"cell {one.number}: an alternative for {name}, which the cell does not assign"
    if runs < 2:
        yield f"{runs} sets of alternative parameters, at least 2"


def _is_parameter(node):
    return isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name)


def with_alternative(cell, k):
    """Return the source of a cell under its k-th set of alternative parameters."""
    choices = cell.metadata.get("alternatives", [])
    if k >= len(choices):
        return cell.source
    lines = cell.source.splitlines()
    for node in reversed(ast.parse(cell.source).body):
        if _is_parameter(node) and node.targets[0].id in choices[k]:
            name = node.targets[0].id
            lines[node.lineno - 1 : node.end_lineno] = [f"{name} = {choices[k][name]}"]
    return "\n".join(lines)


# --- thermometers -------------------------------------------------------------------------------


class Reading(NamedTuple):
    """What a reader meets in a chapter."""

    characters: float  # of an open cell, median
    names: float  # on a line of code, 90th percentile
    new: float  # names that an open cell defines, mean
    silent: float  # share of open cells without a sentence before them
    minutes: int  # of a first reading
    more: int  # minutes for what a first reading leaves out


GOALS = Reading(350, 5, 5, 0.1, 60, 60)


def reading(notebook):
    """Measure a chapter."""
    cells = parsed(notebook)
    ideas = [one for one in cells if one.kind == "idea" and not one.solution]
    names = sorted(count for one in cells for count in _names_per_line(one.tree))
    return Reading(
        statistics.median(len(one.cell.source) for one in ideas) if ideas else 0,
        names[int(0.9 * len(names))] if names else 0,
        statistics.mean(len(_bound(one.tree)) for one in ideas) if ideas else 0,
        sum(not one.announced for one in ideas) / max(1, len(ideas)),
        *minutes(notebook),
    )


def _names_per_line(tree):
    lines = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Name):
            lines[node.lineno] = lines.get(node.lineno, 0) + 1
    return lines.values()


def readable(notebook):
    """No thermometer is at more than twice its goal."""
    found = reading(notebook)
    for name in ("characters", "names", "new", "silent"):
        value, goal = getattr(found, name), getattr(GOALS, name)
        if value > 2 * goal:
            yield f"{name}: {value:.2g}, more than twice {goal}: reread the open cells"


# --- time ---------------------------------------------------------------------------------------


def minutes(notebook):
    """Return the minutes of a first reading, and those for folds and starred sections.

    Exercises, and what stands after them, take as long as the reader likes.
    """
    seconds, level = [0.0, 0.0], 0  # level of the heading of the starred section we are in, or 0
    for cell in notebook.cells:
        if cell.cell_type == "code":
            seconds[bool(level)] += _code_seconds(cell)
            continue
        for part in re.split(r"^(?=#{2,3} )", cell.source, flags=re.M):
            if part.startswith("## Exercises"):
                return _rounded(seconds)
            heading = re.match(r"(#{2,3}) .*", part)
            if heading and (not level or len(heading[1]) <= level):
                level = len(heading[1]) if heading[0].rstrip().endswith("★") else 0
            shown, hidden = _unfold(part)
            seconds[bool(level)] += _text_seconds(shown)
            seconds[1] += _text_seconds(hidden)
    return _rounded(seconds)


def _rounded(seconds):
    return [max(STEP, STEP * round(s / 60 / STEP)) if s else 0 for s in seconds]


def _code_seconds(cell):
    if "remove-cell" in cell.metadata.get("tags", []):
        return 0.0
    lines = LINE * len(cell.source.splitlines())
    return {"idea": lines, "Figure": FIGURE, "Check": 0.0}[kind(cell)]


def _unfold(text):
    """Split a text into what is open and what stands in folds; solutions are in neither."""
    shown, hidden, fence, solution = [], [], None, False
    for line in text.splitlines():
        opened = re.match(r"([:`]{3,})\{(dropdown|solution)\}", line)
        if fence is None and opened:
            fence, solution = opened[1], opened[2] == "solution"
        elif fence is not None:
            if line.strip() == fence:
                fence = None
            elif not solution:
                hidden.append(line)
        else:
            shown.append(line)
    return "\n".join(shown), "\n".join(hidden)


def _text_seconds(text):
    text, displayed = re.subn(r"\$\$.*?\$\$", " ", text, flags=re.S)
    text, inline = re.subn(r"\$[^$\n]+\$", " ", text)
    text = re.sub(r"^:\w[\w-]*:.*$|^[:`]{3,}.*$", "", text, flags=re.M)
    return WORD * len(text.split()) + INLINE * inline + DISPLAYED * displayed


def time_line(notebook):
    """Return the line that states the time."""
    first, more = minutes(notebook)
    text = f"**Time** {first} minutes for a first reading"
    return text + (f", {more} more for the rest." if more else ".")


RULES = [
    narrow_code,
    folded_cells,
    told_assertions,
    checks_define_nothing,
    plain_expressions,
    first_reading,
    stated_time,
    changeable,
    readable,
]
