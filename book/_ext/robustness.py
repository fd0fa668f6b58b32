"""Show what `make reseed` and `make kernels` have found: the directive `robustness`.

Both commands write `book/robustness.json`; nothing on the page is typed. A chapter whose code has
changed since says so.
"""

import hashlib
import json
import re
from pathlib import Path

import nbformat
from sphinx.util.docutils import SphinxDirective

STORE = "book/robustness.json"


def code_hash(notebook):
    """Return a checksum of the code of a chapter: a stored result belongs to it alone."""
    code = "\0".join(
        cell.source
        for cell in notebook.cells
        if cell.cell_type == "code" and "remove-cell" not in cell.metadata.get("tags", [])
    )
    return hashlib.sha256(code.encode()).hexdigest()[:16]


def rows(stored, folder):
    """Return the table: for each chapter its title and what was found, as text."""
    reseed, kernels = (stored.get(key, {}).get("chapters", {}) for key in ("reseed", "kernels"))
    settings = sorted({name for entry in kernels.values() for name in entry} - {"code", "compared"})
    head = ["Chapter", "Assertions", "Hold under other seeds", *(f"As on: {s}" for s in settings)]
    table = [head]
    for path in sorted(Path(folder, "notebooks").glob("*.ipynb")):
        notebook = nbformat.read(path, as_version=4)
        title = re.search(r"^# (.*)$", notebook.cells[0].source, re.M)[1]
        # a copy without solutions remembers the checksum of the whole
        now, name = notebook.metadata.get("whole", code_hash(notebook)), path.stem
        row = [f"[{title}](../notebooks/{path.name})"]
        row += seeds(reseed.get(name), now)
        entry = kernels.get(name, {})
        for setting in settings:
            found = f"{entry[setting]} of {entry['compared']}" if setting in entry else "not run"
            row.append(found + old(entry, now))
        table.append(row)
    return table


def seeds(entry, now):
    """Return the two cells on other seeds."""
    if entry is None:
        return ["", "not run"]
    held = entry["assertions"] - len(entry["failed"])
    text = f"{held} in {entry['runs']} of {entry['runs']} runs"
    for place, shifts in sorted(entry["failed"].items()):
        text += f"; {place} fails in {len(shifts)}"
    return [str(entry["assertions"]), text + old(entry, now)]


def old(entry, now):
    """Return a note if the result belongs to other code than that of today."""
    return "" if not entry or entry["code"] == now else " (before the last change)"


class Robustness(SphinxDirective):
    """The table, and the processor on which it was made."""

    def run(self):
        """Write the table as text and let the page's own parser read it."""
        self.env.note_dependency(str(Path(self.env.srcdir, STORE)))
        stored = json.loads(Path(self.env.srcdir, STORE).read_text(encoding="utf-8"))
        head, *body = rows(stored, self.env.srcdir)
        lines = [head, ["---"] * len(head), *body]
        table = "\n".join("| " + " | ".join(line) + " |" for line in lines)
        about = f"Run on: {stored.get('kernels', {}).get('processor', 'no other kernels yet')}."
        return self.parse_text_to_nodes(f"{table}\n\n{about}")


def setup(app):
    """Register the directive."""
    app.add_directive("robustness", Robustness)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
