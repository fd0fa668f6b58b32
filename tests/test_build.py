"""Installing and building: what fails is named, and costs no more than it must."""

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import bundle
import install
import nbformat
import pytest
from bs4 import BeautifulSoup
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

ROOT = Path(__file__).resolve().parent.parent


# --- installing ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("version", "free", "words"),
    [
        ((3, 10, 13), 50.0, "this is Python 3.10; the pinned versions exist for 3.11 to 3.14"),
        ((3, 15, 0), 50.0, "this is Python 3.15"),
        ((3, 12, 1), 3.5, "has 3.5 GB left; expected 12 GB, or 4 with PyTorch's CPU build"),
    ],
)
def test_what_would_fail_is_named_before_anything_is_installed(version, free, words):
    (sentence,) = install.obstacles(version, free, need=install.LARGE)
    assert words in sentence


def test_nothing_stands_in_the_way_of_a_fitting_python_and_disk():
    assert not [*install.obstacles((3, 11, 7), 4.5, need=install.SMALL)]


def test_the_range_of_python_holds_for_this_one_and_the_documentation():
    assert install.OLDEST <= sys.version_info[:2] <= install.NEWEST
    low, high = (".".join(map(str, version)) for version in (install.OLDEST, install.NEWEST))
    assert f"Python {low} to {high}" in (ROOT / "README.md").read_text(encoding="utf-8")


def test_a_python_that_does_not_fit_ends_with_a_sentence_and_installs_nothing(
    monkeypatch, capsys, tmp_path
):
    monkeypatch.setattr(install, "OLDEST", (3, 99))
    monkeypatch.setattr(install, "FOLDER", tmp_path / ".venv")
    assert install.main([]) == 2
    assert "Cannot install: this is Python" in capsys.readouterr().err
    assert not (tmp_path / ".venv").exists()


# --- a book with one good and one failing chapter -----------------------------------------------

FIGURE = "import matplotlib.pyplot as plt\nplt.plot([1, 2])\nplt.show()"


EXERCISES = """## Exercises

:::{exercise} In words
:label: ex-good-words

*Derive.* Why?
:::

:::{solution} ex-good-words
:class: dropdown

SECRET, because.
:::

:::{exercise} In code
:label: ex-good-code

*Compute.* How much?
:::

:::{solution-start} ex-good-code
:class: dropdown
:::
"""
END = ":::{solution-end}\n:::"


def solved():
    """The end of a chapter: two exercises with solutions."""
    code = new_code_cell("print('SECRET', 6 * 7)")
    return [new_markdown_cell(EXERCISES), code, new_markdown_cell(END)]


def chapter(title, figure, *cells):
    meta = {"mystnb": {"image": {"alt": "A line."}, "figure": {"caption": "A", "name": figure}}}
    code = [new_code_cell(source) for source in cells]
    drawn = new_code_cell(FIGURE, metadata=meta)
    kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3"}}
    return new_notebook(cells=[new_markdown_cell(f"# {title}"), *code, drawn], metadata=kernel)


@pytest.fixture(scope="module")
def broken(tmp_path_factory):
    """The folder of such a book, and what building it gave."""
    folder = tmp_path_factory.mktemp("broken")
    shutil.copy(ROOT / "_config.yml", folder)
    for name in ("_ext", "_static", "build.py", "student.py"):
        copy = shutil.copytree if (ROOT / "book" / name).is_dir() else shutil.copy
        (folder / "book").mkdir(exist_ok=True)
        copy(ROOT / "book" / name, folder / "book" / name)
    texts = {
        "requirements.txt": "",
        "_toc.yml": "format: jb-book\nroot: book/index\nchapters:\n"
        "  - file: notebooks/bad\n  - file: notebooks/good\n",
        "book/references.bib": "",
        "book/index.md": "# A book\n\n```{runs}\n```\n",
        "book/slides/talk.md": "# Slides\n\n![](fig-good)\n\nNote: 2 minutes.\n\n---\n\n"
        "## Next\n\n![](fig-bad)\n\nNote: 3 minutes. Point at the line.\n",
    }
    for name, text in texts.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(text)
    (folder / "notebooks").mkdir()
    for name, cells in (
        ("good", ["print('made here')"]),
        ("bad", ["x = 1", "if x:\n    raise ValueError('it broke')"]),
    ):
        notebook = chapter(name.title(), f"fig-{name}", *cells)
        notebook.cells += solved() if name == "good" else []
        nbformat.write(notebook, folder / "notebooks" / f"{name}.ipynb")
    return folder / "_build" / "html", run_build(folder)


def run_build(folder, *options):
    return subprocess.run(
        [sys.executable, "book/build.py", "--jobs", "2", *options],
        cwd=folder,
        env=os.environ | {"NO_COLOR": "1"},
        capture_output=True,
        text=True,
        timeout=240,
    )


def test_the_last_lines_say_which_cell_of_which_chapter_failed_and_why(broken):
    _, done = broken
    assert done.returncode == 1
    last = [line for line in done.stdout.splitlines() if line.strip()][-12:]
    assert "FAILED: notebooks/bad.ipynb, cell 2: ValueError: it broke" in last, done.stdout[-3000:]
    assert last[-1].startswith("The book has faults: 1 failed chapters"), done.stdout[-3000:]


def test_a_failed_chapter_costs_no_other_page(broken):
    site, _ = broken
    assert "made here" in (site / "notebooks" / "good.html").read_text()
    assert "it broke" in (site / "notebooks" / "bad.html").read_text()


def test_a_failed_chapter_costs_its_place_on_the_slides_and_not_the_slides(broken):
    site, done = broken
    first, second = BeautifulSoup((site / "slides/talk.html").read_text(), "html.parser")("section")
    assert first.find("img")["alt"] == "A line."
    assert second.find("p", class_="missing").get_text() == (
        "The figure fig-bad is missing in this build."
    )
    assert "talk.md shows 'fig-bad', which is no figure here" in done.stderr


def test_the_status_page_tells_the_truth_in_words(broken):
    site, _ = broken
    page = BeautifulSoup((site / "book" / "index.html").read_text(), "html.parser")
    rows = [[cell.get_text(strip=True) for cell in row("td")] for row in page("tr")]
    results = {row[0]: row[-1] for row in rows if row}
    assert results == {
        "Good": "ran to the end",
        "Bad": "failed in cell 2: ValueError: it broke",
    }


def test_what_ran_once_is_not_run_again(broken):
    site, done = broken
    code = (
        "from pathlib import Path; import build; "
        "print(build.run_chapters([Path('../notebooks/good.ipynb').resolve()], 1))"
    )
    again = subprocess.run(
        [sys.executable, "-c", code], cwd=site.parents[1] / "book", capture_output=True, text=True
    )
    assert "good.ipynb ran in" in done.stdout
    assert again.stdout == "{}\n", again.stderr


def test_a_site_without_solutions_has_none_in_any_file(broken):
    site, _ = broken
    assert "SECRET" in (site / "notebooks" / "good.html").read_text()
    assert any("SECRET" in path.read_text() for path in (site / "_sources").rglob("*.ipynb"))
    done = run_build(site.parents[1], "--no-solutions")
    assert "FAILED: notebooks/bad.ipynb" in done.stdout and "good.ipynb ran" not in done.stdout
    copy = site.with_name("html-without-solutions")
    page = (copy / "notebooks" / "good.html").read_text()
    assert "made here" in page and "How much?" in page and "_images/" in page
    texts = {path: path.read_bytes() for path in copy.rglob("*") if path.is_file()}
    assert [path for path, text in texts.items() if b"SECRET" in text] == []
    assert [path for path, text in texts.items() if b"Point at the line" in text] == []
    assert "SECRET" in (site / "notebooks" / "good.html").read_text(), "the other site has changed"


# --- packing ------------------------------------------------------------------------------------


@pytest.fixture
def built(tmp_path):
    """A folder in which everything seems to be built."""
    for name in (
        "html/index.html",
        "html-without-solutions/index.html",
        "assignments/plain/a.ipynb",
    ):
        (tmp_path / name).parent.mkdir(parents=True)
        (tmp_path / name).write_text(name)
    return tmp_path


@pytest.mark.parametrize("solutions", [True, False])
def test_a_packed_site_says_whether_it_has_solutions(built, solutions):
    path = bundle.site(solutions, built)
    assert ("without-solutions" in path.name) == (not solutions)
    with zipfile.ZipFile(path) as archive:
        (name,) = archive.namelist()
        assert archive.read(name).decode() == name
        assert ("without-solutions" in name) == (not solutions)


def test_instructors_get_site_assignments_keys_and_model_answers(built):
    with zipfile.ZipFile(bundle.instructors(built)) as archive:
        names = set(archive.namelist())
        texts = {
            name: archive.read(name).decode() for name in ("votes.md", "exam.md", "README.txt")
        }
    assert {"html/index.html", "assignments/plain/a.ipynb"} <= names
    assert texts["votes.md"].count("**Key**: ") >= 10 and "Model answer" in texts["exam.md"]
    assert "every solution" in texts["README.txt"]


def test_what_is_not_built_cannot_be_packed(tmp_path):
    with pytest.raises(FileNotFoundError, match="html is missing; build it first"):
        bundle.site(True, tmp_path)
