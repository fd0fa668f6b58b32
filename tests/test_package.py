"""The package as a whole: what an import costs, what is public, what is documented."""

import ast
import importlib
import inspect
import json
import pkgutil
import subprocess
import sys
from operator import attrgetter
from pathlib import Path

import pytest

import lindiff
from lindiff import (
    EmpiricalBayes,
    GaussianMixture,
    GuidedDenoiser,
    LinearDenoiser,
    ddim_eta,
    types,
)
from lindiff.deep.adapters import DiffusersDenoiser
from lindiff.deep.networks import Rows, UNet

FOLDER = Path(lindiff.__file__).parent
MODULES = [
    module.name
    for module in pkgutil.walk_packages(lindiff.__path__, "lindiff.")
    if not module.name.rpartition(".")[2].startswith("_")
]
# Public names without an example, each with its reason. Records are shown by what returns them,
# protocols by what takes them.
NO_EXAMPLE = {
    "lindiff.book.style.use_style": "changes global settings",
    "lindiff.book.experiments.main": "the command behind `make jacobians`",
    "lindiff.book.experiments.measure": "takes minutes",
    "lindiff.book.recipes.main": "the command behind `make train`",
    "lindiff.book.foreign.main": "a command that needs a package that is not installed",
    "lindiff.book.foreign.ffdnet": "needs a package that is not installed",
    "lindiff.book.foreign.measure": "takes a minute",
    "lindiff.types.Denoiser": "a type, for annotations",
    "lindiff.types.HasGains": "a type, for annotations",
    "lindiff.types.StepRule": "a type, for annotations",
}


def in_fresh_interpreter(code):
    """Standard output of a program that fails on any warning."""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_import_loads_neither_torch_nor_matplotlib_nor_any_data_package():
    loaded = set(
        json.loads(
            in_fresh_interpreter(
                "import json, sys, lindiff; "
                "print(json.dumps(sorted({m.split('.')[0] for m in sys.modules})))"
            )
        )
    )
    assert "numpy" in loaded
    unwanted = {
        "torch",
        "accelerate",
        "diffusers",
        "safetensors",
        "tqdm",
        "matplotlib",
        "sklearn",
        "mlxtend",
        "pooch",
        "requests",
        "pandas",
    }
    assert loaded & unwanted == set()


def test_the_whole_package_but_plots_runs_without_torch_and_matplotlib():
    in_fresh_interpreter(
        "import sys; sys.modules.update(torch=None, matplotlib=None)\n"
        "import numpy as np, lindiff, lindiff.data\n"
        "d = lindiff.LinearDenoiser(lindiff.data.power_law(3, 1.0))\n"
        "x = np.ones((2, 3))\n"
        "end = list(lindiff.sample(d, x, lindiff.karras(4, .1, 2.), step=lindiff.heun))[-1].x\n"
        "assert end.shape == (2, 3)"
    )


def test_everything_in_all_exists_and_is_sorted():
    assert list(lindiff.__all__) == sorted(lindiff.__all__)
    assert len(set(lindiff.__all__)) == len(lindiff.__all__)
    for name in lindiff.__all__:
        assert callable(getattr(lindiff, name))


def test_no_public_function_hides_a_module():
    for module in MODULES:
        importlib.import_module(module)
        assert inspect.ismodule(attrgetter(module.removeprefix("lindiff."))(lindiff)), module


def public():
    """Public functions and classes with the module that defines them."""
    for module in map(importlib.import_module, MODULES):
        for name, value in vars(module).items():
            own = getattr(value, "__module__", None) == module.__name__
            if (
                own
                and not name.startswith("_")
                and (inspect.isroutine(value) or inspect.isclass(value))
            ):
                yield f"{module.__name__}.{name}", value


PUBLIC = dict(public())


@pytest.mark.parametrize("module", MODULES)
def test_every_module_says_what_it_is_about(module):
    assert len(importlib.import_module(module).__doc__) > 60


@pytest.mark.parametrize("name", PUBLIC)
def test_every_public_name_has_a_docstring_with_an_example_or_a_reason_not_to(name):
    doc = inspect.cleandoc(PUBLIC[name].__doc__ or "")
    first = doc.split("\n\n")[0]
    assert first.endswith((".", "].")), "the first sentence ends with a full stop"
    example = "Examples\n--------\n" in doc and ">>> " in doc
    record = hasattr(PUBLIC[name], "_fields") or getattr(PUBLIC[name], "_is_protocol", False)
    assert example != (record or name in NO_EXAMPLE)


def test_no_reason_is_given_for_a_name_that_is_gone():
    assert set(NO_EXAMPLE) <= set(PUBLIC)


@pytest.mark.parametrize("name", [n for n in PUBLIC if inspect.isclass(PUBLIC[n])])
def test_every_public_method_has_a_docstring(name):
    for method, value in vars(PUBLIC[name]).items():
        if not method.startswith("_") and (callable(value) or isinstance(value, property)):
            assert inspect.getdoc(value), f"{name}.{method}"


@pytest.mark.parametrize("name", PUBLIC)
def test_randomness_is_a_keyword_that_may_be_left_out(name):
    callbacks = {"lindiff.book.recipes.shift_digits"}  # called by `train`, with what it gives
    if name not in callbacks and inspect.isroutine(PUBLIC[name]):
        rng = inspect.signature(PUBLIC[name]).parameters.get("rng")
        assert rng is None or (rng.kind is rng.KEYWORD_ONLY and rng.default is None)


def functions(name):
    """A public function, or the methods of a public class that its source defines."""
    value = PUBLIC[name]
    if not inspect.isclass(value):
        return {name: value}
    found = {}
    for method, member in vars(value).items():
        function = inspect.unwrap(getattr(member, "__func__", member))  # of a class method
        function = getattr(function, "fget", getattr(function, "func", function))  # of a property
        own = getattr(function, "__module__", None) == value.__module__
        public = not method.startswith("_") or method in ("__init__", "__call__")
        if own and public and inspect.isfunction(function):
            found[f"{name}.{method}"] = function
    return found


@pytest.mark.parametrize("name", PUBLIC)
def test_every_public_function_and_method_is_annotated(name):
    for where, function in functions(name).items():
        signature = inspect.signature(function)
        assert signature.return_annotation is not signature.empty, where
        bare = [p.name for p in signature.parameters.values() if p.annotation is p.empty]
        assert set(bare) <= {"self", "cls"}, where


def names(function):
    """Names of the parameters of a function or method."""
    return [name for name in inspect.signature(function).parameters if name != "self"]


def test_the_annotated_methods_include_those_of_every_kind():
    found = {method for name in PUBLIC for method in functions(name)}
    gaussian = "lindiff.gaussian.Gaussian"
    assert {f"{gaussian}.{m}" for m in ("__init__", "rank", "fit", "sample")} <= found
    assert "lindiff.denoisers.LinearDenoiser.__call__" in found
    assert "lindiff.schedules.karras" in found


def test_denoisers_take_what_their_protocol_says():
    wanted = names(types.Denoiser.__call__)
    for kind in (
        LinearDenoiser,
        GuidedDenoiser,
        GaussianMixture,
        EmpiricalBayes,
        Rows,
        DiffusersDenoiser,
    ):
        assert names(kind.__call__) == wanted, kind
    assert names(UNet.forward) == wanted
    for kind in (LinearDenoiser, GuidedDenoiser):
        assert names(kind.gains) == names(types.HasGains.gains)


def test_step_rules_take_what_their_protocol_says():
    wanted = names(types.StepRule.__call__)
    rules = {name: f for name, f in PUBLIC.items() if name.startswith("lindiff.samplers.")}
    for name in ("State", "sample", "ddim_eta"):
        del rules[f"lindiff.samplers.{name}"]
    assert len(rules) == 5
    for name, rule in rules.items():
        assert names(rule) == wanted, name
    assert names(ddim_eta(0.5))[: len(wanted)] == wanted


# Imports only point down; only `deep` and `book` may use torch, and nothing imports `book`.
FLOORS = [
    {"_check", "_files", "_krylov", "types"},
    {"subspaces", "schedules", "sweeps"},
    {"gaussian", "power", "spiked", "draws"},
    {"denoisers", "frequency", "data", "pca"},
    {"mixtures", "finite_data", "samplers", "chains"},
    {"laws", "multistep"},
    {"clocks", "levels", "_mistakes", "_measure", "testing", "deep"},
]


# The same inside `deep`.
DEEP_FLOORS = [
    {"_memory", "_operations", "networks", "patches", "records"},
    {"_graph", "_log", "checkpoints"},
    {"adapters", "jacobian", "parametrisations", "schedulers", "training"},
    {"trajectories"},
]


def imported(path):
    """Names that a module imports, each split at its dots."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name.split(".") for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from (f"{node.module}.{alias.name}".split(".") for alias in node.names)


def up_to(floors, name):
    """Names on the floor of `name` and below it."""
    (floor,) = [i for i, names in enumerate(floors) if name in names]
    return set().union(*floors[: floor + 1])


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.py")), ids=lambda path: path.stem)
def test_imports_only_point_down(path):
    if path.stem == "__init__":
        return
    for parts in imported(path):
        assert parts[0] not in ("torch", "accelerate", "safetensors")
        if parts[0] == "lindiff":
            assert parts[1] in up_to(FLOORS, path.stem), f"{path.stem} imports {parts}"


@pytest.mark.parametrize("path", sorted(FOLDER.glob("deep/*.py")), ids=lambda path: path.stem)
def test_imports_inside_deep_only_point_down(path):
    if path.stem == "__init__":
        return
    for parts in imported(path):
        if parts[:2] == ["lindiff", "deep"]:
            assert parts[2] in up_to(DEEP_FLOORS, path.stem), f"{path.stem} imports {parts}"
        elif parts[0] == "lindiff":
            assert parts[1] in up_to(FLOORS, "deep"), f"{path.stem} imports {parts}"


def test_nothing_draws_from_a_global_generator():
    for path in FOLDER.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Attribute):
                if node.value.attr == "random" and getattr(node.value.value, "id", "") == "np":
                    assert node.attr in ("default_rng", "Generator", "SeedSequence"), path.name
