"""The rules for readers: each rejects what it is for, and the thermometers measure."""

import re

import notebook_form
import pytest
import reading_rules as rules
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

OPENING = """# A chapter

:::{admonition} Before you start
**You will** see.

**You need** eyes.

**First reading** Leave out the proof.

{time}
:::"""
CHECK = '# @title Check: one and one\nassert x + x == 2 * x, f"{x + x} instead of {2 * x}"'
FIGURE = "# @title Figure: a line\nfig, ax = plt.subplots()\nplt.show()"
PARAMETERS = "x = 1  # of the text\ny = [x]"
CHOICES = [{"x": "2"}, {"y": "[3]"}]


def written(cells):
    notebook = new_notebook(cells=cells)
    for _, cell in notebook_form.code_cells(notebook):
        rules.fold(cell)
    line = rules.time_line(notebook)
    cells[0].source = cells[0].source.replace("{time}", line)
    assert rules.time_line(notebook) == line, "the line with the time changes the time"
    return notebook


@pytest.fixture
def notebook():
    """A chapter that keeps every rule."""
    return written(
        [
            new_markdown_cell(OPENING),
            new_code_cell(PARAMETERS, metadata={"alternatives": CHOICES}),
            new_markdown_cell("Now we add."),
            new_code_cell("total = x + x\nprint(total)"),
            new_code_cell(CHECK),
            new_code_cell(FIGURE, metadata={"mystnb": {"figure": {"caption": "A line."}}}),
            new_markdown_cell("## Summary\n\nIt adds.\n\n## Exercises\n\nAdd more."),
        ]
    )


def source(number, text):
    def change(notebook):
        notebook.cells[number - 1].source = text

    return change


def metadata(number, **changes):
    return lambda notebook: notebook.cells[number - 1].metadata.update(changes)


DENSE = "a, b, c, d, e, f, g, h, i, j, k = [x] * 11"
BROKEN = [
    (rules.narrow_code, source(4, "total = 1  # " + "x" * 67)),
    (rules.folded_cells, source(4, "# @title Remark: what")),
    (rules.folded_cells, source(4, "plt.show()")),
    (rules.folded_cells, source(4, "Frames(draw, labels)")),
    (rules.folded_cells, source(6, "# @title Figure: none\nfig = 1")),
    (rules.folded_cells, source(6, FIGURE + "\nassert x, f'{x} and {x}'")),
    (rules.folded_cells, source(5, "# @title Check: nothing\nprint(x)")),
    (rules.folded_cells, source(4, "assert x\nnp.testing.assert_allclose(x, x)")),
    (rules.folded_cells, metadata(5, tags=[])),
    (rules.folded_cells, metadata(5, jupyter={"source_hidden": False})),
    (rules.folded_cells, source(5, CHECK.replace("one and one", "another title"))),
    (rules.told_assertions, source(4, "assert x == 1")),
    (rules.told_assertions, source(4, "assert x == 1, 'x is 1, not 2'")),
    (rules.told_assertions, source(4, "assert x == 1, f'x is {x}'")),
    (rules.checks_define_nothing, lambda n: (source(5, "# @title Check: a\nz = 1")(n), use_z(n))),
    (rules.checks_define_nothing, lambda n: (source(5, "# @title Check: a\nx = 1")(n), use_x(n))),
    (rules.plain_expressions, source(4, "if (y := x):\n    pass")),
    (rules.plain_expressions, source(4, "f = lambda v: (used.append(1), v)[1]")),
    (rules.plain_expressions, source(4, "z = [[a for a in b] for b in y]")),
    (rules.plain_expressions, source(4, "z = [sum(a for a in b) for b in y]")),
    (rules.first_reading, source(1, OPENING.replace("**First reading**", "**Later**"))),
    (rules.stated_time, source(1, OPENING.replace("{time}", "**Time** An hour."))),
    (rules.changeable, metadata(2, alternatives=[])),
    (rules.changeable, metadata(2, alternatives=[{"x": "2"}])),
    (rules.changeable, metadata(2, alternatives=[*CHOICES, {"z": "2"}])),
    (rules.readable, source(4, "print(" + "1 + " * 400 + "1)")),
    (rules.readable, lambda n: [source(k, DENSE)(n) for k in (2, 4)]),
    (rules.readable, lambda n: n.cells.pop(2)),
]


def use_z(notebook):
    notebook.cells[5].source = "# @title Figure: z\nplt.plot(z)\nplt.show()"


def use_x(notebook):
    notebook.cells[5].source = "# @title Figure: x\nplt.plot(x)\nplt.show()"


def test_a_chapter_in_form_keeps_every_rule(notebook):
    assert [fault for rule in rules.RULES for fault in rule(notebook)] == []


@pytest.mark.parametrize("rule, spoil", BROKEN, ids=lambda value: getattr(value, "__name__", ""))
def test_a_rule_rejects_what_it_is_for(notebook, rule, spoil):
    spoil(notebook)
    assert list(rule(notebook))


def test_every_rule_has_a_failing_example():
    assert {rule for rule, _ in BROKEN} == set(rules.RULES)


@pytest.mark.parametrize(
    "welcome",
    [
        "found = []\nfor a in y:\n    found.append(a)",
        "last = y.pop()",
        "z = np.sort([a for a in y])",
        "assert x == 1, f'x is {x}, expected 1'",
        "np.testing.assert_allclose(x, 1)",
        "def close(a):\n    assert a < 1, f'{a} is not below {1}'",
    ],
)
def test_what_the_rules_allow(notebook, welcome):
    notebook.cells[3].source = welcome
    for rule in (rules.folded_cells, rules.told_assertions, rules.plain_expressions):
        assert list(rule(notebook)) == []


def test_a_check_may_use_names_of_its_own_and_a_later_cell_may_bind_them_again(notebook):
    notebook.cells[4].source = CHECK + "\nz = 1\nprint(abs(z))"
    notebook.cells[5].source = FIGURE + "\nf = lambda z: z"
    assert list(rules.checks_define_nothing(notebook)) == []
    notebook.cells[5].source = FIGURE + "\nz = 2\nprint(z)"
    assert list(rules.checks_define_nothing(notebook)) == []


def test_a_solution_may_assert_more_than_once(notebook):
    gates = ":::{solution-start} ex-a\n:::", ":::{solution-end}\n:::"
    two = "assert x == 1, f'{x} and {1}'\nassert x < 2, f'{x} and {2}'"
    notebook.cells += [new_markdown_cell(gates[0]), new_code_cell(two), new_markdown_cell(gates[1])]
    assert list(rules.folded_cells(notebook)) == []
    assert [one.solution for one in rules.parsed(notebook)].count(True) == 1


def test_a_fold_follows_its_title():
    cell = new_code_cell("# @title Figure: a line\nplt.show()", metadata={"tags": ["kept"]})
    rules.fold(cell)
    folded = dict(cell.metadata)
    assert folded["tags"] == ["kept", "hide-input"]
    assert folded["mystnb"]["code_prompt_show"] == "Figure: a line"
    assert folded["jupyter"] == {"source_hidden": True} and folded["cellView"] == "form"
    rules.fold(cell)
    assert dict(cell.metadata) == folded
    cell.source = "x = 1"
    rules.fold(cell)
    assert cell.metadata == {"tags": ["kept"]}


def test_a_hidden_solution_keeps_its_metadata():
    cell = new_code_cell("x = 1", metadata={"jupyter": {"source_hidden": True}})
    rules.fold(cell)
    assert cell.metadata == {"jupyter": {"source_hidden": True}}


def test_other_values_take_the_place_of_a_parameter():
    cell = new_code_cell(PARAMETERS + "\nz = 3", metadata={"alternatives": CHOICES})
    assert rules.with_alternative(cell, 0) == "x = 2\ny = [x]\nz = 3"
    assert rules.with_alternative(cell, 1) == "x = 1  # of the text\ny = [3]\nz = 3"
    assert rules.with_alternative(cell, 2) == cell.source
    long = new_code_cell("x = [\n    1,\n]\ny = x", metadata={"alternatives": [{"x": "[2]"}]})
    assert rules.with_alternative(long, 0) == "x = [2]\ny = x"


def test_time_counts_what_is_open_and_what_is_folded_apart():
    words = "word " * 750  # five minutes
    fold = "\n\n::::{dropdown} Proof\n" + words + "\n::::"
    solution = "\n\n:::{solution} ex-a\n" + words + "\n:::"
    cells = [new_markdown_cell(f"# A\n\n{words}{words}{fold}{solution}")]
    assert rules.minutes(new_notebook(cells=cells)) == [10, 5]
    cells.append(new_markdown_cell(f"## Hard ★\n\n{words}{words}\n\n### Part\n\n{words}{words}"))
    assert rules.minutes(new_notebook(cells=cells)) == [10, 25]
    cells.append(new_code_cell("x = 1\n" * 75))  # still in the starred section
    assert rules.minutes(new_notebook(cells=cells)) == [10, 30]
    cells.append(new_markdown_cell(f"## Easy\n\n{words}\n\n## Exercises\n\n{words}"))
    assert rules.minutes(new_notebook(cells=cells)) == [15, 30]
    formulas = " $x$" * 75 + "\n\n$$\nx\n$$" * 12  # five minutes each
    assert rules.minutes(new_notebook(cells=[new_markdown_cell(formulas)])) == [10, 0]


def test_the_time_is_written_where_a_chapter_states_it(notebook):
    right = notebook.cells[0].source
    notebook.cells[0].source = re.sub(r"\d+ minutes", "99 minutes", right)
    assert list(rules.stated_time(notebook))
    rules.state_time(notebook)
    assert notebook.cells[0].source == right
    notebook.cells[0].source = "# A chapter of the old form\n\n**Time** 45 minutes to read"
    rules.state_time(notebook)
    assert notebook.cells[0].source.endswith("45 minutes to read")
