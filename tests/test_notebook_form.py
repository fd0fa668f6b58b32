"""The tool that keeps the chapters in form: each rule rejects what it is for, `--fix` is safe."""

import copy
import subprocess
import sys
from types import SimpleNamespace

import nbformat
import notebook_form
import notebook_rules as rules
import pytest

FIGURE = {
    "image": {"alt": "A curve that rises from zero and flattens below one."},
    "figure": {"caption": "Gain against noise $\\sigma / \\lambda$", "name": "fig-gain"},
}
OPENING = """# A chapter

:::{admonition} Before you start
**You will** see.

**You need** eyes.

**First reading** All of it.

**Time** 5 minutes for a first reading.
:::"""
CHECK = '# @title Check: one and one\nassert 1 + 1 == 2, f"{1 + 1} instead of 2"'
EXERCISE = ":::{exercise}\n:label: ex-one\nShow it.\n:::\n\n:::{solution} ex-one\nDone.\n:::"


def text(source):
    return nbformat.v4.new_markdown_cell(source)


def code(source, **metadata):
    return nbformat.v4.new_code_cell(source, metadata=metadata)


def chapter():
    """Return a chapter that satisfies every rule once it is run."""
    cells = [
        text(OPENING),
        code("x = 1\ny = 2\nprint(x)", alternatives=[{"x": "2"}, {"y": "3"}]),
        code(CHECK),
        code(CHECK),
        code(CHECK),
        text(f"## Summary\n\nShort.\n\n## Exercises\n\n{EXERCISE}"),
    ]
    return nbformat.v4.new_notebook(cells=cells)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A chapter in its form; the kernel is started only once for all tests of the rules."""
    path = tmp_path_factory.mktemp("chapter") / "99_chapter.ipynb"
    nbformat.write(chapter(), path)
    assert notebook_form.fix(path)
    return path


@pytest.fixture
def notebook(finished):
    return notebook_form.read(finished)


def add(notebook, cell):
    notebook.cells.insert(2, cell)


def edit(number, **changes):
    def change(notebook):
        for name, value in changes.items():
            notebook.cells[number - 1][name] = value

    return change


def swap(old, new):
    def change(notebook):
        assert old in notebook.cells[-1].source
        notebook.cells[-1].source = notebook.cells[-1].source.replace(old, new)

    return change


def figure(**changes):
    """Return a change that adds a figure cell with some of its settings replaced."""
    settings = copy.deepcopy(FIGURE)
    for name, value in changes.items():
        settings["image" if name == "alt" else "figure"][name] = value
    return lambda notebook: add(notebook, code("plt.show()", mystnb=settings))


def output(**data):
    return lambda notebook: notebook.cells[1].outputs.append(
        nbformat.v4.new_output(
            "display_data", data={k.replace("_", "/"): v for k, v in data.items()}
        )
    )


IGNORED = {"tags": [rules.IGNORED]}
STDERR = nbformat.v4.new_output("stream", name="stderr", text="a complaint")
BROKEN = [
    (rules.executed_in_order, edit(2, execution_count=7)),
    (rules.executed_in_order, edit(3, execution_count=None)),
    (rules.fixed_ids, edit(2, id="3f9c0a1b")),
    (rules.text_outputs_only, output(image_png="AAAA", text_plain="x")),
    (rules.text_outputs_only, output(text_html="<b>x</b>")),
    (rules.text_outputs_only, edit(2, outputs=[STDERR])),
    (rules.text_outputs_only, edit(1, source="# A\n\n![x](data:image/png;base64,AAAA)")),
    (rules.text_outputs_only, edit(1, attachments={"a.png": {"image/png": "AAAA"}})),
    (rules.no_timestamps, lambda n: n.cells[1].metadata.update(execution={"iopub.status": "now"})),
    (rules.no_timestamps, lambda n: n.metadata.kernelspec.update(name="my-own")),
    (rules.opens_on_colab, edit(2, source="import sys")),
    (rules.opens_on_colab, edit(2, metadata=nbformat.from_dict({}))),
    (rules.opens_on_colab, lambda n: n.cells.pop(1)),
    (rules.no_shell, edit(2, source="!ls")),
    (rules.no_shell, edit(2, source="if True:\n    %pip install x")),
    (rules.no_shell, edit(2, source="%%bash\nls")),
    (rules.no_shell, edit(2, source="get_ipython().system('ls')")),
    (rules.one_import_path, edit(2, source="from lindiff.denoisers import wiener")),
    (
        rules.one_import_path,
        edit(2, source="from lindiff.power import (\n    clock,\n    krylov,\n)"),
    ),
    (rules.one_import_path, edit(2, source="from lindiff.deep.jacobian import Jacobian")),
    (rules.described_figures, lambda n: add(n, code("plt.show()"))),
    (rules.described_figures, figure(alt="A curve.")),
    (rules.described_figures, figure(alt="the-curve-of-the-gain-against-noise.png")),
    (rules.described_figures, figure(alt="x " * 20, caption="x " * 20)),
    (rules.described_figures, figure(caption="word " * 61)),
    (rules.described_figures, figure(caption="")),
    (rules.described_figures, figure(name="gain")),
    (rules.described_figures, lambda n: (figure()(n), figure()(n))),
    (rules.described_figures, lambda n: (figure()(n), add(n, code("Frames(f, name='fig-gain')")))),
    (rules.tagged_cells, edit(2, source="display(frames(images))")),
    (rules.tagged_cells, edit(2, source="Frames(draw, labels)")),
    (rules.tagged_cells, edit(2, source="assert True", metadata=nbformat.from_dict(IGNORED))),
    (rules.enough_asserts, edit(4, source="x = 1")),
    (rules.compared_output, edit(3, outputs=[])),
    (rules.compared_output, edit(3, metadata=nbformat.from_dict(IGNORED))),
    (rules.sections, edit(1, source="A text without a title")),
    (rules.sections, lambda n: n.cells.pop(0)),
    (rules.sections, swap("## Summary", "## The end")),
    (rules.sections, swap("## Exercises", "## Problems")),
    (rules.solved_exercises, swap(":label: ex-one\n", "")),
    (rules.solved_exercises, swap("{solution} ex-one", "{solution} ex-two")),
    (rules.solved_exercises, swap("{solution} ex-one", "{solution-start} ex-one")),
]


def test_a_chapter_in_form_passes_every_rule(finished):
    assert notebook_form.check([finished]) == []


@pytest.mark.parametrize("rule, spoil", BROKEN, ids=lambda value: getattr(value, "__name__", ""))
def test_a_rule_rejects_what_it_is_for(notebook, rule, spoil):
    spoil(notebook)
    assert list(rule(notebook))


def test_every_rule_has_a_failing_example():
    assert {rule for rule, _ in BROKEN} == set(rules.RULES)


@pytest.mark.parametrize(
    "welcome",
    [
        figure(),
        lambda n: add(n, code("display(frames(images))\nassert True", **IGNORED)),
        lambda n: add(n, code("def frames(images):\n    return images")),
        swap("Show it.", "Show $1 + 1 = 2$."),
    ],
)
def test_what_the_rules_allow(notebook, welcome):
    welcome(notebook)
    for rule in (rules.described_figures, rules.tagged_cells, rules.solved_exercises):
        assert list(rule(notebook)) == []


def test_a_gated_solution_counts(notebook):
    gated = "{solution-start} ex-one\n:class: dropdown\n:::\n\nDone.\n\n:::{solution-end}"
    swap("{solution} ex-one\nDone.", gated)(notebook)
    assert list(rules.solved_exercises(notebook)) == []


def test_a_figure_name_in_two_chapters_is_found(tmp_path, notebook):
    figure()(notebook)
    paths = [tmp_path / "98_one.ipynb", tmp_path / "99_two.ipynb"]
    for path in paths:
        path.write_text(notebook_form.dump(notebook), encoding="utf-8")
    (fault,) = notebook_form.repeated_names(paths)
    assert "fig-gain" in fault and "98_one.ipynb" in fault and "99_two.ipynb" in fault


def test_fixing_a_fixed_notebook_changes_nothing(finished):
    before = finished.read_bytes()
    assert not notebook_form.fix(finished)
    assert finished.read_bytes() == before


def test_fixing_keeps_text_and_drops_the_rest(tmp_path):
    path = tmp_path / "99_chapter.ipynb"
    notebook = chapter()
    add(notebook, code("from IPython.display import HTML\nHTML('<b>x</b>')"))
    add(notebook, text("It shows."))
    add(notebook, code("print('one')\nprint('two')", tags=["kept"]))
    add(notebook, text("It prints."))
    nbformat.write(notebook, path)
    notebook_form.fix(path)
    fixed = notebook_form.read(path)
    assert fixed.cells[4].outputs[0].text == "one\ntwo\n"
    assert fixed.cells[4].metadata == {"tags": ["kept"]}
    assert fixed.cells[6].outputs[0].data == {"text/plain": "<IPython.core.display.HTML object>"}
    assert notebook_form.check([path]) == []


def run_on_colab(cell, monkeypatch):
    """Run the cell for Colab as if there; return the commands that it gives."""
    commands = []
    monkeypatch.setattr(subprocess, "run", lambda command, check: commands.append(command))
    monkeypatch.setitem(sys.modules, "google.colab", SimpleNamespace())
    exec(cell.source, {})
    return commands


def test_the_cell_for_colab_installs_from_the_repository_that_was_named(
    finished, tmp_path, monkeypatch
):
    path = tmp_path / "99_chapter.ipynb"
    path.write_bytes(finished.read_bytes())
    with pytest.raises(ValueError, match="address of the repository"):
        run_on_colab(code(rules.COLAB.format(address="")), monkeypatch)
    monkeypatch.setenv("LINDIFF_REPOSITORY", "https://example.org/book")
    assert notebook_form.fix(path)
    monkeypatch.delenv("LINDIFF_REPOSITORY")
    assert not notebook_form.fix(path)
    (command,) = run_on_colab(notebook_form.read(path).cells[1], monkeypatch)
    assert command[1:4] == ["-m", "pip", "install"]
    assert command[-1] == "lindiff[cluster,data,deep] @ git+https://example.org/book"


@pytest.mark.parametrize(
    "source, words",
    [
        ("raise ValueError('wrong sign')", "cell 4 failed: .*wrong sign"),
        ("import sys\nsys.stderr.write('a complaint')", "cell 4 writes to stderr: a complaint"),
    ],
)
def test_a_failing_cell_is_named_and_the_file_left_untouched(tmp_path, source, words):
    path = tmp_path / "99_chapter.ipynb"
    notebook = chapter()
    add(notebook, code(source))
    nbformat.write(notebook, path)
    before = path.read_bytes()
    with pytest.raises(notebook_form.FormError, match=words):
        notebook_form.fix(path)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_the_command_line_reports_and_counts(finished, tmp_path, notebook, capsys):
    assert notebook_form.main([str(finished), "--stats"]) == 0
    assert "99_chapter.ipynb" in capsys.readouterr().out
    edit(2, source="!ls")(notebook)
    spoilt = tmp_path / "98_spoilt.ipynb"
    spoilt.write_text(notebook_form.dump(notebook), encoding="utf-8")
    assert notebook_form.main([str(spoilt)]) == 1
    assert "no_shell: cell 2" in capsys.readouterr().out


def test_a_file_laid_out_differently_is_found(finished, tmp_path):
    path = tmp_path / "99_chapter.ipynb"
    path.write_text(finished.read_text(encoding="utf-8").replace("\n ", "\n    "))
    assert list(notebook_form.as_written(path))
