"""Say how each chapter ran in this build, in words: the directive `runs`.

A chapter that failed keeps its page, up to the cell that failed; the table says which one that is.
"""

import re
from pathlib import Path

import nbformat
from docutils import nodes
from myst_nb.sphinx_ import NbMetadataCollector
from sphinx.addnodes import pending_xref
from sphinx.transforms.post_transforms import SphinxPostTransform
from sphinx.util.docutils import SphinxDirective

COLOURS = re.compile(r"\x1b\[[0-9;]*m")


def failure(path, traceback):
    """Say in which cell of the notebook a run ended, and why."""
    text = COLOURS.sub("", traceback or "").strip()
    why = text.splitlines()[-1] if text else "no traceback"
    code = [c for c in nbformat.read(path, as_version=4).cells if c.cell_type == "code"]
    # the traceback quotes the whole cell
    cells = [n for n, cell in enumerate(code, 1) if cell.source and cell.source.strip() in text]
    return f"failed in cell {cells[0]}: {why}" if cells else f"failed: {why}"


class Table(nodes.General, nodes.Element):
    """Stands where the table will be, until all chapters have run."""


class Runs(SphinxDirective):
    """A table with one row for each chapter that was run."""

    def run(self):
        """Leave a placeholder."""
        NbMetadataCollector.set_doc_data(self.env, self.env.docname, "has_exec_table", True)
        return [Table()]


class FillTable(SphinxPostTransform):
    """Write the table: at this moment all chapters have run."""

    default_priority = 8  # before references are resolved

    def run(self, **kwargs):
        """Replace each placeholder."""
        for node in list(self.document.findall(Table)):
            node.replace_self(self.table())

    def table(self):
        """Build the table."""
        group = nodes.tgroup("", *(nodes.colspec(colwidth=1) for _ in range(3)), cols=3)
        group += nodes.thead("", _row(*map(_text, ("Chapter", "Seconds", "Result"))))
        body = nodes.tbody()
        for name, data in sorted(NbMetadataCollector.get_doc_data(self.env).items()):
            run = data.get("exec_data")
            if not run:
                continue
            path = Path(self.env.doc2path(name))
            result = "ran to the end" if run["succeeded"] else failure(path, run["traceback"])
            seconds = "" if run["runtime"] is None else f"{run['runtime']:.0f}"
            body += _row(self.link(name), _text(seconds), _text(result))
        group += body
        return nodes.table("", group)

    def link(self, name):
        """Refer to a chapter by its title."""
        title = self.env.titles[name].astext()
        reference = pending_xref(
            "",
            nodes.inline(text=title),
            refdoc=self.env.docname,
            reftarget=f"/{name}",
            reftype="doc",
            refdomain="std",
            refexplicit=True,
            refwarn=True,
            classes=["xref", "doc"],
        )
        return nodes.paragraph("", "", reference)


def _text(text):
    return nodes.paragraph(text=text)


def _row(*cells):
    return nodes.row("", *(nodes.entry("", cell) for cell in cells))


def setup(app):
    """Register the directive."""
    app.add_node(Table)
    app.add_directive("runs", Runs)
    app.add_post_transform(FillTable)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
