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


class Statement(NamedTuple):
    """A statement, the assertions that follow it in its section, and what their cells print."""

    label: str
    title: str
    assertions: tuple
    printed: tuple


def statements(notebook):
    """List the statements of a notebook in their order.

    A cell belongs to the last statement before it, up to the next section.
    """
    found, current = {}, None
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            marks = sorted(
                [*STATEMENT.finditer(cell.source), *SECTION.finditer(cell.source)],
                key=lambda mark: mark.start(),
            )
            for mark in marks:
                current = mark["label"] if mark.re is STATEMENT else None
                if current:
                    found[current] = Statement(current, mark["title"].strip(), (), ())
        elif current:
            texts = tuple(assertions(cell.source))
            if texts:
                last = found[current]
                printed = tuple(o.text.rstrip() for o in cell.outputs if o.get("name") == "stdout")
                found[current] = last._replace(
                    assertions=last.assertions + texts, printed=last.printed + printed
                )
    return list(found.values())


def assertions(source):
    """Yield the assertions in a cell: `assert` statements, and calls of `assert_...`."""
    nodes = (node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.stmt))
    for node in sorted(nodes, key=lambda node: node.lineno):
        call = node.value if isinstance(node, ast.Expr) else None
        name = getattr(getattr(call, "func", None), "attr", "")
        if isinstance(node, ast.Assert) or name.startswith("assert_"):
            yield textwrap.dedent(" " * node.col_offset + ast.get_source_segment(source, node))


class Statements(SphinxDirective):
    """The statements of one chapter as folded entries."""

    required_arguments = 1

    def run(self):
        """Write the entries as text and let the page's own parser read them."""
        path = Path(self.env.srcdir, self.arguments[0])
        self.env.note_dependency(str(path))
        notebook = nbformat.read(path, as_version=4)
        return self.parse_text_to_nodes("\n\n".join(map(entry, statements(notebook))))


def entry(statement):
    """Return the text of one entry."""
    count = len(statement.assertions)
    link = f"{{prf:ref}}`{statement.label}` {statement.title}"
    if not count:
        return f"{link}: in the text; no cell of its own"
    printed = "\n".join(statement.printed)
    body = "```python\n" + "\n".join(statement.assertions) + "\n```"
    if printed:
        body += f"\n\nprints\n\n```text\n{printed}\n```"
    word = "assertion" if count == 1 else "assertions"
    return f"{link}\n\n::::{{dropdown}} {count} {word}\n{body}\n::::"


def setup(app):
    """Register the directive."""
    app.add_directive("statements", Statements)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
