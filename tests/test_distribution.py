"""What is given away: the source package, the wheel, and the README run from the installed wheel.

Nothing is downloaded. The wheel is built from the source package and installed into a fresh
environment; the programs there borrow its dependencies from the environment of the tests.
"""

import os
import re
import shutil
import subprocess
import sys
import tarfile
import venv
import zipfile
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parents[1]
LEFT_OUT = shutil.ignore_patterns(
    ".*", "_build", "build", "dist", "*.egg-info", "__pycache__", "notebooks"
)
BUILD = "import sys, setuptools.build_meta as backend; print(getattr(backend, sys.argv[1])('dist'))"
SITE = "import sysconfig; print(sysconfig.get_path('purelib'))"

# The packages of the environment in which the tests run.
OURS = [path for path in sys.path if Path(path).name in ("site-packages", "dist-packages")]
# The first lines of a program that may use all of them.
BORROW_ALL = f"import sys\nsys.path += {OURS!r}\n"
# The first lines of a program that may use some of them: as if nothing else were installed.
BORROW_SOME = f"""
import sys
from importlib.machinery import PathFinder
class Some:
    def find_spec(self, name, path=None, target=None):
        return PathFinder.find_spec(name, {OURS!r}) if name in SOME else None
sys.meta_path.append(Some())
"""


class Made(NamedTuple):
    """The two distributions, and the Python of an environment in which the wheel is installed."""

    source: Path
    wheel: Path
    python: Path
    site: Path


def run(*command, folder):
    """Standard output of a command in `folder`, which sees nothing of the source tree."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("PYTHONPATH", "PIP_"))}
    done = subprocess.run(
        [str(part) for part in command],
        cwd=folder,
        env={**environment, "PIP_DISABLE_PIP_VERSION_CHECK": "1", "PYTHONUTF8": "1"},
        capture_output=True,
        text=True,
        encoding="utf-8",
        timeout=120,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def build(kind, folder):
    """Path of the distribution of a kind ("sdist", "wheel") of the source tree `folder`."""
    made = run(sys.executable, "-c", BUILD, f"build_{kind}", folder=folder).split()[-1]
    return folder / "dist" / made


def environment(folder):
    """Python and site-packages of a new environment in `folder`, in which nothing is installed."""
    venv.EnvBuilder(symlinks=os.name != "nt").create(folder)
    python = folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    site = Path(run(python, "-c", SITE, folder=folder).strip())
    return python, site


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Both distributions, and the wheel installed; built from a copy, so that nothing is left."""
    folder = tmp_path_factory.mktemp("distribution")
    tree = shutil.copytree(ROOT, folder / "tree", ignore=LEFT_OUT)
    source = build("sdist", tree)
    with tarfile.open(source) as archive:
        archive.extractall(folder, filter="data")
    wheel = build("wheel", folder / source.name.removesuffix(".tar.gz"))
    python, site = environment(folder / "environment")
    pip = [sys.executable, "-m", "pip", "--quiet", "--python", python]
    run(*pip, "install", "--no-index", "--no-deps", wheel, folder=folder)
    return Made(source, wheel, python, site)


def modules_and_data(suffixes=(".py", ".typed", ".safetensors", ".npz", ".json")):
    """Files below lindiff/ that belong to the package, relative to the root."""
    files = (ROOT / "lindiff").rglob("*")
    return {path.relative_to(ROOT).as_posix() for path in files if path.suffix in suffixes}


# --- contents -----------------------------------------------------------------------------------


def test_the_wheel_holds_the_package_its_data_and_its_licence_only(made):
    names = set(zipfile.ZipFile(made.wheel).namelist())
    package = {name for name in names if name.startswith("lindiff/")}
    assert package == modules_and_data()
    assert {"lindiff/__init__.py", "lindiff/py.typed"} <= package
    assert {Path(name).suffix for name in package} == {
        ".py",
        ".typed",
        ".safetensors",
        ".npz",
        ".json",
    }
    (folder,) = {name.partition("/")[0] for name in names - package}
    assert re.fullmatch(r"lindiff-[0-9.]+\.dist-info", folder)
    assert f"{folder}/licenses/LICENSE" in names


def test_the_source_package_holds_what_the_wheel_needs_and_no_tests(made):
    with tarfile.open(made.source) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    beside = {"LICENSE", "README.md", "pyproject.toml", "CHANGELOG.md", "CITATION.cff"}
    assert modules_and_data() | beside <= names
    assert not {name for name in names if name.startswith(("tests", "notebooks", "book/"))}


def test_the_metadata_say_what_an_index_shows(made):
    with zipfile.ZipFile(made.wheel) as archive:
        (name,) = [name for name in archive.namelist() if name.endswith(".dist-info/METADATA")]
        metadata = archive.read(name).decode("utf-8")
    for line in (
        "Name: lindiff",
        "Author: The lindiff authors",
        "License-Expression: BSD-3-Clause",
        "Requires-Python: >=3.10",
        "Classifier: Typing :: Typed",
        "Description-Content-Type: text/markdown",
    ):
        assert f"\n{line}\n" in metadata
    assert "# Diffusion as a Correlation Machine" in metadata


# --- the installed wheel ------------------------------------------------------------------------


def program(made, code, folder):
    """Standard output of a program that imports the wheel, and none of the source tree."""
    check = f"import lindiff\nassert lindiff.__file__.startswith({str(made.site)!r}), lindiff\n"
    path = folder / "program.py"
    path.write_text(code + "\n" + check, encoding="utf-8")
    return run(made.python, "-I", path, folder=folder)


def test_the_programs_of_the_readme_run_from_the_wheel(made, tmp_path):
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    programs = re.findall(r"^```python\n(.*?)^```", readme, re.M | re.S)
    assert programs
    assert program(made, "\n".join([BORROW_ALL, *programs]), tmp_path).strip()


WITHOUT_EXTRAS = """
import numpy as np
import lindiff
from lindiff.data import mnist, power_law

denoiser = lindiff.LinearDenoiser(power_law(3, 1.0))
levels = lindiff.karras(4, 0.1, 2.0)
made = list(lindiff.sample(denoiser, np.ones((2, 3)), levels, step=lindiff.heun))[-1].x
assert made.shape == (2, 3)
print(lindiff.law(denoiser, levels, step=lindiff.heun).variance[-1])
try:
    mnist()
except ImportError as error:
    print(error)
try:
    from lindiff.deep import networks
except ImportError as error:
    print(error)
"""


def test_the_linear_part_needs_no_extra_and_the_rest_says_which(made, tmp_path):
    said = program(made, f"SOME = {core(made)}\n{BORROW_SOME}{WITHOUT_EXTRAS}", tmp_path)
    assert "pip install 'lindiff[data]'" in said
    assert "pip install 'lindiff[deep]'" in said


def core(made):
    """Names under which the dependencies that are no extras are imported."""
    code = (
        "from importlib.metadata import requires\n"
        "print(*[r for r in requires('lindiff') if 'extra ==' not in r], sep='\\n')"
    )
    lines = run(made.python, "-I", "-c", code, folder=made.site).splitlines()
    names = {re.match(r"[\w-]+", line)[0].replace("-", "_") for line in lines}
    assert names == {"numpy", "scipy", "array_api_compat"}
    return names


def test_the_installed_package_knows_its_version(made, tmp_path):
    version = made.wheel.name.split("-")[1]
    code = BORROW_ALL + "import lindiff; print(lindiff.__version__)"
    assert program(made, code, tmp_path).strip() == version
