"""Pack what was built into one zip: `make dist` and `make instructors`.

    python book/bundle.py site [--no-solutions]
    python book/bundle.py instructors

The first is the site, to read without a network. The second has the site with all solutions, the
assignments with their tests and rubrics, the votes with their keys, and the exam questions with
model answers.
"""

import argparse
import sys
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
BUILD = ROOT / "_build"
sys.path.insert(0, str(ROOT / "book" / "_ext"))
import decks  # noqa: E402
from teaching import SESSION, votes  # noqa: E402

CONTENTS = """For instructors: this package has every solution in it.

html/index.html         the book with all solutions; slides and hand-outs are in html/slides
assignments/source      the assignments for nbgrader, with solutions and hidden tests
assignments/plain       the assignments for students without nbgrader
assignments/rubrics     model answers and points
votes.md                the votes of all sessions, with keys and what a wrong vote reveals
exam.md                 exam questions with model answers and points
"""


def site(solutions, build=BUILD):
    """Pack the site with or without solutions; return the path of the zip."""
    folder = build / ("html" if solutions else "html-without-solutions")
    name = "lindiff-book.zip" if solutions else "lindiff-book-without-solutions.zip"
    return pack(build / name, [(folder, folder.name)], {})


def instructors(build=BUILD):
    """Pack all that an instructor needs; return the path of the zip."""
    found = [deck for deck in decks.read_all(ROOT) if deck.name.startswith(SESSION)]
    texts = {
        "README.txt": CONTENTS,
        "votes.md": f"# Votes\n\n{votes(found)}\n",
        "exam.md": (ROOT / "book" / "teaching" / "exam.md").read_text(encoding="utf-8"),
    }
    folders = [(build / "html", "html"), (build / "assignments", "assignments")]
    return pack(build / "lindiff-instructors.zip", folders, texts)


def pack(path, folders, texts):
    """Write a zip of folders, under the names given, and of texts."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for folder, name in folders:
            if not folder.is_dir():
                raise FileNotFoundError(f"{folder} is missing; build it first")
            for file in sorted(folder.rglob("*")):
                if file.is_file():
                    archive.write(file, Path(name, file.relative_to(folder)))
        for name, text in texts.items():
            archive.writestr(name, text)
    return path


def main(arguments=None):
    """Write the zip that the command line names."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=("site", "instructors"))
    parser.add_argument("--no-solutions", action="store_true")
    options = parser.parse_args(arguments)
    if options.what == "instructors":
        path, what = instructors(), "the instructors' package, WITH all solutions"
    else:
        path = site(not options.no_solutions)
        what = f"the site {'without' if options.no_solutions else 'WITH'} solutions"
    print(f"{path.relative_to(ROOT)}: {what}; unpack it and open index.html in the folder html*")


if __name__ == "__main__":
    main()
