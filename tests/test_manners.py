"""What the files around the package say: one version, one address, the same gates everywhere."""

import re
import shutil
from pathlib import Path

import address
import pytest
import yaml

import lindiff

ROOT = Path(__file__).parents[1]


def text(name):
    """Contents of a file of the project."""
    return (ROOT / name).read_text(encoding="utf-8")


# --- one version --------------------------------------------------------------------------------


def test_the_version_is_the_same_wherever_it_is_read():
    (version,) = re.findall(r'^version = "(.*)"$', text("pyproject.toml"), re.M)
    assert lindiff.__version__ == version, "install the package again: its metadata are old"
    assert str(yaml.safe_load(text("CITATION.cff"))["version"]) == version
    newest, *_ = re.findall(r"^## ([0-9.]+)", text("CHANGELOG.md"), re.M)
    assert newest == version


def test_a_name_that_the_package_lacks_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        lindiff.nothing  # noqa: B018


# --- one address --------------------------------------------------------------------------------

OLD, NEW = "https://github.com/someone/book", "https://github.com/other/fork"


@pytest.fixture
def copies(tmp_path, monkeypatch):
    """A folder with the two files that name the address, and no remote."""
    monkeypatch.delenv("LINDIFF_REPOSITORY", raising=False)
    for name in ("pyproject.toml", "CITATION.cff"):
        shutil.copy(ROOT / name, tmp_path / name)
    return tmp_path


def read_all(folder):
    """Contents of the files in `folder`."""
    return {path.name: path.read_text(encoding="utf-8") for path in folder.iterdir()}


def test_the_address_is_written_once_and_replaced_by_the_next(copies, monkeypatch):
    monkeypatch.setenv("LINDIFF_REPOSITORY", NEW)
    assert address.main(copies) == 0
    first = read_all(copies)
    assert first["pyproject.toml"].count("[project.urls]") == 1
    assert f'Repository = "{NEW}"\n' in first["pyproject.toml"]
    assert yaml.safe_load(first["CITATION.cff"])["repository-code"] == NEW
    monkeypatch.setenv("LINDIFF_REPOSITORY", OLD)
    assert address.main(copies) == 0
    assert not any(NEW in contents for contents in read_all(copies).values())
    monkeypatch.setenv("LINDIFF_REPOSITORY", NEW)
    assert address.main(copies) == 0
    assert read_all(copies) == first


def test_without_an_address_nothing_is_written(copies, capsys):
    before = read_all(copies)
    assert address.main(copies) == 2
    assert "LINDIFF_REPOSITORY" in capsys.readouterr().err
    assert read_all(copies) == before


# --- the same gates -----------------------------------------------------------------------------


def test_the_hooks_run_what_the_gates_run():
    gates = text("Makefile").replace("$(BIN)", ".venv/bin").replace("$(NOTEBOOKS)", "")
    (repository,) = yaml.safe_load(text(".pre-commit-config.yaml"))["repos"]
    assert repository["repo"] == "local"
    for hook in repository["hooks"]:
        assert hook["language"] == "system" and not hook["pass_filenames"]
        if hook["id"] == "notebooks":  # among the unit tests; see tests/test_notebooks.py
            assert hook["entry"] == ".venv/bin/python tests/notebook_form.py"
        else:
            assert f"\t{hook['entry']}\n" in gates


ISSUES = sorted((ROOT / ".github" / "ISSUE_TEMPLATE").glob("*.md"))
PAGES = [ROOT / "CONTRIBUTING.md", ROOT / ".github" / "pull_request_template.md"]


@pytest.mark.parametrize("path", [*ISSUES, *PAGES], ids=lambda path: path.stem)
def test_every_command_that_is_named_exists(path):
    targets = set(re.findall(r"^([a-z-]+):", text("Makefile"), re.M))
    named = set(re.findall(r"(?:`|^)make ([a-z-]+)", path.read_text(encoding="utf-8"), re.M))
    assert named <= targets
    assert named or path in ISSUES


@pytest.mark.parametrize("path", ISSUES, ids=lambda path: path.stem)
def test_every_form_of_an_issue_has_a_name_and_a_purpose(path):
    _, head, body = path.read_text(encoding="utf-8").split("---\n", 2)
    assert yaml.safe_load(head).keys() >= {"name", "about"} and body.strip()
