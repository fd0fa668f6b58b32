"""Run the chapters again with other seeds or parameters, or as on another processor.

    python tests/rerun.py reseed --shifts 10   every assertion, under ten other sets of seeds
    python tests/rerun.py reseed --sample 3    one shift, of three chapters that the commit picks
    python tests/rerun.py kernels              printed values, as other processors compute them
    python tests/rerun.py kernels --settings oldest notebooks/0*.ipynb
    python tests/rerun.py parameters           every assertion, under other parameters
    python tests/rerun.py tests                the unit tests, as other processors compute them

Each run of a chapter has a fresh kernel. In a reseeded run an assertion that fails does not end
its cell, so that the others are still counted; what a cell prints is not compared. A cell that
repeats a run stored in a file keeps its seeds and says so by the tag `stored-run`. Under other
kernels the seeds stay, and printed values must agree as `nbval_numbers.py` says.

A cell may carry sets of other values of its parameters, in its metadata as `alternatives`; run k
takes the k-th set of each cell. Then no idea and no figure may break, and every check holds unless
its title says that it is for the values of the text.

With `--store` the result goes into book/robustness.json, from which the page on reproducibility is
made. The exit status is 1 if an assertion fails, a cell breaks, or a printed value differs.
"""

import argparse
import hashlib
import json
import os
import platform
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import kernels
import nbformat
from nbclient import NotebookClient
from nbformat.v4 import new_code_cell
from nbval_numbers import same_text
from notebook_form import ROOT, read
from reading_rules import TEXT_ONLY, with_alternative

sys.path.append(str(ROOT / "book" / "_ext"))
from robustness import code_hash

STORE = ROOT / "book" / "robustness.json"
WATCH = (
    "import sys; sys.path.append({folder!r}); import watched as _watched; _watched.start({shift})"
)
STORED_RUN = "stored-run"


def chapters():
    """List the paths of all chapters."""
    return sorted((ROOT / "notebooks").glob("*.ipynb"))


def printed(cell):
    """Return what a code cell printed, without the pictures."""
    texts = [o.get("text") or o.get("data", {}).get("text/plain", "") for o in cell.outputs]
    return "".join(text for text in texts if text and not text.startswith("<"))


def run(path, environment, shift=0, alternative=None):
    """Run one chapter; return its assertions, the broken cells, and where other values are printed.

    `alternative` is the number of a set of other parameters, from 0; None keeps those of the text.

    Cells are counted from 1 over the code cells that stand in the notebook.
    """
    stored = read(path)
    notebook = nbformat.v4.new_notebook(metadata=stored.metadata)
    notebook.cells = [new_code_cell(WATCH.format(folder=str(Path(__file__).parent), shift=shift))]
    code = [cell for cell in stored.cells if cell.cell_type == "code"]
    for n, cell in enumerate(code, 1):
        still = STORED_RUN in cell.metadata.get("tags", [])
        notebook.cells.append(new_code_cell(f"_watched.begin({n}, {still})"))
        source = cell.source if alternative is None else with_alternative(cell, alternative)
        notebook.cells.append(new_code_cell(source))
    notebook.cells.append(new_code_cell("print(_watched.summary())"))
    client = NotebookClient(
        notebook,
        timeout=900,
        allow_errors=True,
        coalesce_streams=True,
        resources={"metadata": {"path": str(path.parent)}},
    )
    client.execute(env=os.environ | environment)
    found = json.loads(notebook.cells[-1].outputs[0].text)
    result = {"assertions": found["held"], "failed": {}, "broken": {}, "different": {}}
    result["failed"] = {place: text[:300] for place, text in found["failed"].items()}
    for n, (again, reference) in enumerate(zip(notebook.cells[2:-1:2], code, strict=True), 1):
        for output in again.outputs:
            if output.output_type == "error":
                result["broken"][f"cell {n}"] = f"{output.ename}: {output.evalue}"[:300]
            elif output.get("name") == "stderr":
                result["broken"].setdefault(f"cell {n}", f"stderr: {output.text[:300]}")
        if (
            shift
            or alternative is not None
            or "nbval-ignore-output" in reference.metadata.get("tags", [])
        ):
            continue
        text, rtol = printed(reference), reference.metadata.get("numbers", {}).get("rtol", 0.0)
        if not same_text(text, printed(again), rtol):
            result["different"][f"cell {n}"] = printed(again)[:600]
    return result


def all_runs(jobs, workers):
    """Run each job (path, environment, shift), some at a time; yield them with their results."""
    with ThreadPoolExecutor(workers) as pool:
        results = pool.map(lambda job: run(*job), jobs)
        yield from zip(jobs, results, strict=True)


def complain(title, result):
    """Print what went wrong in one run; True if anything did."""
    for kind in ("failed", "broken", "different"):
        for place, text in result[kind].items():
            print(f"  {title}, {place}: {kind}: {text.strip()}", flush=True)
    return any(result[kind] for kind in ("failed", "broken", "different"))


def reseed(paths, shifts, workers):
    """Run every chapter under every shift; return what holds, and whether anything failed."""
    found, bad = {}, False
    jobs = [(path, kernels.ONE_THREAD, shift) for path in paths for shift in shifts]
    for (path, _, shift), result in all_runs(jobs, workers):
        bad |= complain(f"{path.stem}, shift {shift}", result)
        entry = found.setdefault(
            path.stem, {"code": code_hash(read(path)), "runs": 0, "assertions": 0, "failed": {}}
        )
        entry["runs"] += 1
        entry["assertions"] = max(entry["assertions"], len(result["assertions"]))
        for place in [*result["failed"], *result["broken"]]:
            entry["failed"].setdefault(place, []).append(shift)
        entry["stored runs"] = sum(
            STORED_RUN in cell.metadata.get("tags", []) for cell in read(path).cells
        )
        print(f"{path.stem}, shift {shift}: {len(result['assertions'])} assertions", flush=True)
    return found, bad


def under_parameters(paths, workers):
    """Run every chapter under each of its sets of parameters; True if something fails."""
    jobs = [
        (path, kernels.ONE_THREAD, 0, k)
        for path in paths
        for k in range(max(len(cell.metadata.get("alternatives", [])) for cell in read(path).cells))
    ]
    bad = False
    for (path, _, _, k), result in all_runs(jobs, workers):
        code = [cell for cell in read(path).cells if cell.cell_type == "code"]
        for place in list(result["failed"]):
            title = code[int(place.split()[1]) - 1].source.partition("\n")[0]
            if title.startswith("# @title Check") and title.endswith(TEXT_ONLY):
                del result["failed"][place]
        bad |= complain(f"{path.stem}, parameters {k + 1}", result)
        held = len(result["assertions"])
        print(f"{path.stem}, parameters {k + 1}: {held} assertions", flush=True)
    return bad


def under_kernels(paths, settings, workers):
    """Run every chapter under every setting; return how many cells print the same."""
    found, bad = {}, False
    jobs = [(path, environment) for path in paths for environment in settings.values()]
    names = [name for _ in paths for name in settings]
    for name, ((path, _), result) in zip(names, all_runs(jobs, workers), strict=True):
        bad |= complain(f"{path.stem}, {name}", result)
        notebook = read(path)
        compared = sum(
            bool(printed(cell).strip())
            and "nbval-ignore-output" not in cell.metadata.get("tags", [])
            for cell in notebook.cells
            if cell.cell_type == "code"
        )
        entry = found.setdefault(path.stem, {"code": code_hash(notebook), "compared": compared})
        entry[name] = compared - len(result["different"])
        print(f"{path.stem}, {name}: {entry[name]} of {compared} outputs agree", flush=True)
    return found, bad


def unit_tests(settings, workers):
    """Run the unit tests under every setting; True if one of them fails."""
    options = ["-q", "-m", "not rendered", "-n", str(workers), "--dist", "loadfile"]
    bad = False
    for name, environment in settings.items():
        print(f"unit tests, {name}", flush=True)
        command = [sys.executable, "-m", "pytest", *options]
        bad |= subprocess.run(command, cwd=ROOT, env=os.environ | environment).returncode != 0
    return bad


def store(part, found, **about):
    """Merge a result into the stored one, chapter by chapter."""
    stored = json.loads(STORE.read_text(encoding="utf-8")) if STORE.exists() else {}
    entry = stored.setdefault(part, {"chapters": {}})
    entry.update(about)
    for chapter, result in found.items():
        old = entry["chapters"].get(chapter, {})
        same = old.get("code") == result["code"]
        entry["chapters"][chapter] = old | result if same else result
    entry["chapters"] = dict(sorted(entry["chapters"].items()))
    STORE.write_text(json.dumps(stored, indent=1, sort_keys=True) + "\n", encoding="utf-8")


def unfinished(part, paths, enough):
    """Return the chapters for which no result of their present code is stored."""
    stored = json.loads(STORE.read_text(encoding="utf-8")) if STORE.exists() else {}
    known = stored.get(part, {}).get("chapters", {})
    return [
        path
        for path in paths
        if known.get(path.stem, {}).get("code") != code_hash(read(path))
        or not enough(known[path.stem])
    ]


def processor():
    """Return the name of the processor."""
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def picked(count):
    """Return `count` chapters and a shift that depend on the commit: in time all are tried."""
    commit = subprocess.run(
        ["git", "rev-parse", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.strip()
    order = sorted(
        chapters(), key=lambda path: hashlib.sha256((commit + path.stem).encode()).digest()
    )
    return sorted(order[:count]), 1 + int(commit[:8], 16) % 10_000


def main(arguments=None):
    """Run the tool from the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=["reseed", "kernels", "parameters", "tests"])
    parser.add_argument("--shifts", type=int, default=10, help="reseed: number of other seeds")
    parser.add_argument("--first", type=int, default=1, help="reseed: the first shift")
    parser.add_argument("--sample", type=int, help="reseed: one shift of so many chapters")
    parser.add_argument("--settings", help="kernels: names, by default all that this machine has")
    parser.add_argument("--workers", type=int, default=os.cpu_count(), help="chapters at a time")
    parser.add_argument("--missing", action="store_true", help="only what is not stored yet")
    parser.add_argument("--store", action="store_true", help=f"write {STORE.relative_to(ROOT)}")
    parser.add_argument("paths", nargs="*", type=Path)
    options = parser.parse_intermixed_args(arguments)
    paths = [path.resolve() for path in options.paths] or chapters()
    settings = {k: v for k, v in kernels.settings().items() if k != "native"}
    if options.settings:
        wanted = options.settings.split(",")
        for name in set(wanted) - settings.keys():
            print(f"{name}: not a setting of this machine, left out", flush=True)
        settings = {name: settings[name] for name in wanted if name in settings}
    if options.what == "tests":
        return int(unit_tests(settings, options.workers))
    if options.what == "parameters":
        return int(under_parameters(paths, options.workers))
    if options.what == "reseed":
        shifts = range(options.first, options.first + options.shifts)
        if options.sample:
            paths, shift = picked(options.sample)
            shifts = [shift]
        if options.missing:
            paths = unfinished("reseed", paths, lambda entry: entry["runs"] >= len(shifts))
        found, bad = reseed(paths, shifts, options.workers)
        about = {}
    else:
        if options.missing:
            paths = unfinished("kernels", paths, lambda entry: entry.keys() >= settings.keys())
        found, bad = under_kernels(paths, settings, options.workers)
        about = {"processor": processor()}
    if options.store:
        store(options.what, found, **about)
    return int(bad)


if __name__ == "__main__":
    sys.exit(main())
