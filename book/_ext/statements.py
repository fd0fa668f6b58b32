"""List the numbered statements of a chapter, each with the assertions that check it.

The directive `statements` takes the path of a notebook and reads it as it is: what the page says
is checked is what the build has just executed.
"""

import ast
import re
import textwrap
from pathlib import Path
from typing import NamedTuple

import nbformat
from sphinx.util.docutils import SphinxDirective

STATEMENT = re.compile(
    r"^[:`]{3,}\{prf:(?P<kind>theorem|proposition|lemma|corollary)\} *(?P<title>.*)\n"
    r":label: *(?P<label>\S+)",
    re.M,
)
SECTION = re.compile(r"^## ", re.M)


class Group(NamedTuple):
    """Statements in a row, the assertions that follow them, and what their cells print."""

    statements: tuple  # of (label, title)
    assertions: tuple = ()
    printed: tuple = ()


def groups(notebook):
    """List the statements of a notebook in their order, those together that share their cells.

    A cell belongs to the statements before it, up to the next section.
    """
    found, ended = [], True
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            marks = [*STATEMENT.finditer(cell.source), *SECTION.finditer(cell.source)]
            for mark in sorted(marks, key=lambda mark: mark.start()):
                if mark.re is SECTION:
                    ended = True
                    continue
                if ended or found[-1].assertions:
                    found.append(Group(()))
                new = (mark["label"], mark["title"].strip())
                found[-1] = found[-1]._replace(statements=(*found[-1].statements, new))
                ended = False
        elif not ended and (texts := tuple(assertions(cell.source))):
            last, outputs = found[-1], cell.outputs
            printed = tuple(o.text.rstrip() for o in outputs if o.get("name") == "stdout")
            found[-1] = Group(last.statements, last.assertions + texts, last.printed + printed)
    return found


def assertions(source):
    """Yield the assertions in a cell: `assert` statements, and calls of `assert_...`."""
    nodes = (node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.stmt))
    for node in sorted(nodes, key=lambda node: node.lineno):
        call = node.value if isinstance(node, ast.Expr) else None
        name = getattr(getattr(call, "func", None), "attr", "")
        if isinstance(node, ast.Assert) or name.startswith("assert_"):
            yield textwrap.dedent(" " * node.col_offset + ast.get_source_segment(source, node))


class Statements(SphinxDirective):
    """The statements of one chapter, with their assertions folded."""

    required_arguments = 1

    def run(self):
        """Write the entries as text and let the page's own parser read them."""
        path = Path(self.env.srcdir, self.arguments[0])
        self.env.note_dependency(str(path))
        notebook = nbformat.read(path, as_version=4)
        return self.parse_text_to_nodes("\n\n".join(map(entry, groups(notebook))))


def entry(group):
    """Return the text of one entry."""
    lines = [f"- {{prf:ref}}`{label}` {title}" for label, title in group.statements]
    count = len(group.assertions)
    if not count:
        return "\n".join(lines) + "; argued in the text, no cell checks it"
    body = "```python\n" + "\n".join(group.assertions) + "\n```"
    if group.printed:
        body += "\n\nprints\n\n```text\n" + "\n".join(group.printed) + "\n```"
    word = "assertion" if count == 1 else "assertions"
    return "\n".join(lines) + f"\n\n::::{{dropdown}} {count} {word}\n{body}\n::::"


def setup(app):
    """Register the directive."""
    app.add_directive("statements", Statements)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
