"""Run the chapters, several at a time, and build the site: what `make book` calls.

    python book/build.py [--jobs 2] [--no-solutions]

Each chapter runs in a fresh kernel with one BLAS thread, and goes into the cache from which Jupyter
Book makes the pages; a chapter whose code did not change is not run again, unless the package or
the pins changed. A chapter that fails costs its own page and no other. The exit status is then 1,
and the last lines say which cell of which chapter failed, and why.

With `--no-solutions` the pages, their notebooks, the model answers of the exam and the slides are
made from copies without solutions, so that no page and no file of the site has any.
"""

import argparse
import hashlib
import os
import re
import shutil
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path

import nbformat
import student
from jupyter_cache import get_cache
from jupyter_cache.base import CacheBundleIn
from jupyter_cache.executors.utils import single_nb_execution

ROOT = Path(__file__).resolve().parent.parent
BUILD = ROOT / "_build"
CACHE, KEY = BUILD / ".jupyter_cache", BUILD / "cache-key"
COPY, SITE = BUILD / "without-solutions", BUILD / "html"
TIMEOUT = 300
COLOURS = re.compile(r"\x1b\[[0-9;]*m")
# A message of every kernel, about a network that this book does not use.
QUIET = ["--IPKernelApp.log_level=ERROR"]


def reason(error):
    """Return the last line of a traceback: what went wrong."""
    lines = [line for line in COLOURS.sub("", str(error)).splitlines() if line.strip()]
    return lines[-1] if lines else type(error).__name__


def failed_cell(notebook):
    """Return the number of the last code cell that was run, counted from 1 over code cells."""
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    run = [n for n, cell in enumerate(code, 1) if cell.get("execution_count") or cell.outputs]
    return max(run, default=1)


def forget_old_runs():
    """Drop the cache when the package or the pins changed: it sees nothing but the cells."""
    sources = [ROOT / "requirements.txt", *sorted((ROOT / "lindiff").rglob("*.py"))]
    digest = hashlib.sha256()
    for path in sources:
        digest.update(path.relative_to(ROOT).as_posix().encode() + path.read_bytes())
    BUILD.mkdir(exist_ok=True)
    if not KEY.exists() or KEY.read_text() != digest.hexdigest():
        shutil.rmtree(CACHE, ignore_errors=True)
        KEY.write_text(digest.hexdigest())


def run_chapters(paths, jobs):
    """Run the chapters that are not in the cache; return {path: what failed}."""
    cache, waiting, failures = get_cache(str(CACHE)), [], {}
    for path in paths:
        notebook = nbformat.read(path, as_version=4)
        try:
            cache.match_cache_notebook(notebook)
        except KeyError:
            waiting.append((path, notebook))

    def execute(path, notebook):
        for cell in notebook.cells:
            if cell.cell_type == "code":
                cell.outputs, cell.execution_count = [], None
        return single_nb_execution(
            notebook, str(path.parent), TIMEOUT, allow_errors=False, extra_arguments=QUIET
        )

    with ThreadPoolExecutor(jobs) as pool:
        # the later chapters take longest: they go first, so that none is left alone at the end
        tasks = {pool.submit(execute, path, nb): (path, nb) for path, nb in reversed(waiting)}
        for task in as_completed(tasks):
            (path, notebook), result = tasks[task], task.result()
            name = path.relative_to(ROOT)
            if result.err is None:
                keep(cache, path, notebook, {"execution_seconds": result.time})
                print(f"{name} ran in {result.time:.0f} s", flush=True)
            else:
                failures[name] = f"cell {failed_cell(notebook)}: {reason(result.err)}"
                print(f"{name} FAILED in {failures[name]}", flush=True)
    return failures


def keep(cache, path, notebook, data):
    """Put what a chapter has computed into a cache."""
    record = cache.add_nb_to_project(str(path))
    bundle = CacheBundleIn(notebook, record.uri, data=data)
    cache.cache_notebook_bundle(bundle, check_validity=False, overwrite=True)


def copy_without_solutions(paths):
    """Copy the book without solutions, and what its chapters have computed; return the folder."""
    shutil.rmtree(COPY, ignore_errors=True)
    unwanted = shutil.ignore_patterns("__pycache__", "*.pyc")
    shutil.copytree(ROOT / "book", COPY / "book", ignore=unwanted)
    for name in ("_config.yml", "_toc.yml", "requirements.txt"):
        shutil.copy(ROOT / name, COPY / name)
    (COPY / "notebooks").mkdir()
    cache, copied = get_cache(str(CACHE)), get_cache(str(COPY / "_build" / ".jupyter_cache"))
    for path in paths:
        whole = nbformat.read(path, as_version=4)
        target = COPY / "notebooks" / path.name
        nbformat.write(student.for_the_site(whole), target)
        try:
            pk, run = cache.merge_match_into_notebook(whole)
        except KeyError:  # it failed, and will fail again on its page
            continue
        keep(copied, target, student.for_the_site(run), cache.get_cache_record(pk).data)
    for page in (COPY / "book").rglob("*.md"):
        clean = student.deck if page.parent.name == "slides" else student.page
        page.write_text(clean(page.read_text(encoding="utf-8")), encoding="utf-8")
    shutil.rmtree(COPY / "book" / "teaching" / "assignments", ignore_errors=True)
    return COPY


def build_pages(root):
    """Build the site of the book in `root` from clean folders; return the status and warnings."""
    for name in ("html", ".doctrees"):  # what is no page any more would stay
        shutil.rmtree(root / "_build" / name, ignore_errors=True)
    jupyter_book = "from jupyter_book.cli.main import main; main()"
    command = [sys.executable, "-c", jupyter_book, "build", str(root)]
    process = subprocess.Popen(
        [*command, "--all", "-n", "-W", "--keep-going"], stderr=subprocess.PIPE, text=True
    )
    warnings = []

    def follow():
        for line in process.stderr:
            print(line, end="", file=sys.stderr, flush=True)
            plain = COLOURS.sub("", line).strip()
            if re.search(r"\b(WARNING|ERROR|CRITICAL):", plain):
                warnings.append(plain)

    reader = threading.Thread(target=follow)
    reader.start()
    status = process.wait()
    reader.join()
    return status, warnings


def main(arguments=None):
    """Build the book; return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--jobs", type=int, default=os.cpu_count(), help="chapters at a time")
    parser.add_argument("--no-solutions", action="store_true", help="a site for students")
    options = parser.parse_args(arguments)
    # one thread a kernel: the same figures on every machine, and as many kernels as cores
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        os.environ.setdefault(name, "1")
    start = time.monotonic()
    forget_old_runs()
    chapters = sorted((ROOT / "notebooks").glob("*.ipynb"))
    failures = run_chapters(chapters, options.jobs)
    ran = time.monotonic() - start
    site = SITE
    if options.no_solutions:
        status, warnings = build_pages(copy_without_solutions(chapters))
        site = BUILD / "html-without-solutions"
        shutil.rmtree(site, ignore_errors=True)
        shutil.move(COPY / "_build" / "html", site)
    else:
        status, warnings = build_pages(ROOT)
    took = time.monotonic() - start
    print(f"\nchapters {ran:.0f} s, pages {took - ran:.0f} s, together {took:.0f} s")
    for name, text in failures.items():
        print(f"FAILED: {name}, {text}")
    for line in warnings[:20]:
        print(line)
    if failures or status:
        print(f"The book has faults: {len(failures)} failed chapters, {len(warnings)} warnings.")
        return 1
    print(f"The book is built: {site.relative_to(ROOT) / 'index.html'}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
