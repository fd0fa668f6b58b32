"""Every chapter has the form that `make notebooks` gives it: one test per notebook and rule."""

import functools

import notebook_form
import pytest
import reading_rules
from notebook_rules import RULES

PATHS = notebook_form.default_paths()
read = functools.cache(notebook_form.read)


@pytest.mark.parametrize("rule", RULES + reading_rules.RULES, ids=lambda rule: rule.__name__)
@pytest.mark.parametrize("path", PATHS, ids=lambda path: path.stem)
def test_rule(path, rule):
    """The message of a failure says which cell departs from the rule, and how."""
    faults = list(rule(read(path)))
    assert not faults, f"{path.name}: {rule.__doc__}\n" + "\n".join(faults)


@pytest.mark.parametrize("path", PATHS, ids=lambda path: path.stem)
def test_file_is_written_as_the_tool_writes_it(path):
    faults = list(notebook_form.as_written(path))
    assert not faults, f"{path.name}: run `make notebooks`: {faults}"


def test_no_figure_name_is_used_twice():
    assert list(notebook_form.repeated_names(PATHS)) == []


def test_every_chapter_of_the_folder_is_in_the_book():
    contents = (notebook_form.ROOT / "_toc.yml").read_text(encoding="utf-8")
    chapters = [path for path in PATHS if path.parent.name == "notebooks"]
    left_out = [path.stem for path in chapters if f"notebooks/{path.stem}" not in contents]
    assert not left_out, f"not in _toc.yml, so never built: {left_out}"


@pytest.mark.parametrize("path", PATHS, ids=lambda path: path.stem)
def test_instructors_are_told_the_same_time_as_students(path):
    if path.parent.name != "notebooks":
        pytest.skip("the template is no chapter of the book")
    page = (notebook_form.ROOT / "book" / "for-instructors.md").read_text(encoding="utf-8")
    told = reading_rules.time_line(read(path)).removeprefix("**Time** ").rstrip(".")
    (line,) = [
        line for line in page.splitlines() if f"({path.name})" in line.replace("../notebooks/", "")
    ]
    assert told in line, f"expected ({told}; needs ...)"
