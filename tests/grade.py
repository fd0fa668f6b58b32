"""Let nbgrader make, run and grade the assignments: `python tests/grade.py FOLDER [NAME ...]`.

FOLDER is what `make assignments` has written. Two students hand in: one the reference solution, one
an empty copy. Prints, as JSON, what each gets for the tests, the points that there are for tests
and for derivations, and how many derivations wait for a person.
"""

import json
import logging
import os
import shutil
import sys
from pathlib import Path

from nbgrader.api import Gradebook
from nbgrader.apps import NbGraderAPI
from traitlets.config import PyFileConfigLoader

STUDENTS = ("reference", "empty")


def grade(folder, names):
    """Return {assignment: {student: points}}."""
    # the settings that teachers get
    course = PyFileConfigLoader("nbgrader_config.py", path=str(folder)).load_config()
    course.CourseDirectory.root = str(folder)
    api = NbGraderAPI(config=course)
    api.log_level = logging.CRITICAL
    found = {}
    for name in names:
        done = api.generate_assignment(name, force=True)
        assert done["success"], done.get("error") or done.get("log")
        handed_in = {"reference": folder / "source" / name, "empty": folder / "release" / name}
        for student in STUDENTS:
            target = folder / "submitted" / student / name
            shutil.rmtree(target, ignore_errors=True)
            shutil.copytree(handed_in[student], target)
            done = api.autograde(name, student, force=True)
            assert done["success"], done.get("error") or done.get("log")
        with Gradebook(f"sqlite:///{folder}/gradebook.db") as book:
            found[name] = {student: points(book, name, student) for student in STUDENTS}
    return found


def points(book, name, student):
    """Return what a student has got so far, what there is to get, and what waits for a person."""
    notebook = book.find_submission_notebook(name, name, student)
    cells = [(one, one.cell.max_score, one.cell.cell_type) for one in notebook.grades]
    tests = [(one, most) for one, most, kind in cells if kind == "code"]
    words = [(one, most) for one, most, kind in cells if kind == "markdown"]
    return {
        "tests": sum(one.auto_score for one, _ in tests),
        "of": sum(most for _, most in tests),
        "failed": [one.name for one, most in tests if one.auto_score < most],
        "words": sum(most for _, most in words),
        "waiting": sum(bool(one.needs_manual_grade) for one, _ in words),
    }


if __name__ == "__main__":
    # nbgrader calls alembic, which lies beside this Python
    os.environ["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    place = Path(sys.argv[1]).resolve()
    chosen = sys.argv[2:] or sorted(path.name for path in (place / "source").iterdir())
    print(json.dumps(grade(place, chosen), indent=1))
