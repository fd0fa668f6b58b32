"""Typeset the formulas when the book is built, so that a page arrives with them set.

In the browser, MathJax needs seconds for a chapter with five hundred formulas. Here the same
MathJax, out of the same installed package, runs once per book, inside the JavaScript engine of the
package mini-racer. The pages get its markup, MathML for screen readers included, and one style
sheet; all that a browser still fetches are the fonts. A formula with a fault is a warning, which
the strict build turns into a failure.
"""

import hashlib
import html
import json
import re
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from types import SimpleNamespace

from docutils import nodes
from offline import built_pages, mathjax_folder
from py_mini_racer import MiniRacer
from sphinx.util import logging
from sphinx.util.math import get_node_equation_number

logger = logging.getLogger(__name__)

COMPONENTS = (
    "startup.js",
    "core.js",
    "adaptors/liteDOM.js",
    "input/tex-full.js",
    "output/chtml.js",
    "output/chtml/fonts/tex.js",
    "a11y/assistive-mml.js",
)
SCRIPT = Path(__file__).with_name("typeset.js")
SHEET = "mathjax/formulas.css"
# The pages and the slides write a formula so; TeX itself has no such brackets.
FORMULA = re.compile(r"<tex-(inline|display)>(.*?)</tex-\1>", re.S)
# Browsers may end a line between a formula and the comma that touches it.
ATTACHED = re.compile(
    r"((?<![^\s>])[^\s<>]{1,20})?"
    r"<span class=\"math [^>]*><tex-inline>[^<]*</tex-inline></span>([^\s<>]{1,20})?"
)
LINK = re.compile(rf"({re.escape(SHEET)})(?:\?v=\w+)?(?=\")")
ERROR = re.compile(r'data-mjx-error="([^"]*)"')
# A rule of the style sheet for one character, and the characters of a page.
RULE = re.compile(r"^mjx-c\.mjx-(c[0-9A-F]+)\b.*?^\}\n*", re.M | re.S)
CHARACTER = re.compile(r"\bmjx-(c[0-9A-F]+)\b")


def marked(tex, display=False):
    """Return the markup by which a page asks for a formula."""
    kind = "display" if display else "inline"
    return f"<tex-{kind}>{html.escape(tex, quote=False)}</tex-{kind}>"


@contextmanager
def engine(macros):
    """Start MathJax; give `typeset(tex, display)` and `sheet()`, which return HTML and CSS."""
    folder = mathjax_folder()
    sources = {name: (folder / name).read_text(encoding="utf-8") for name in COMPONENTS}
    # Left open, V8 would keep the build from ending.
    with MiniRacer() as v8:
        v8.eval(f"var SOURCES = {json.dumps(sources)}, MACROS = {json.dumps(macros)};")
        v8.eval(SCRIPT.read_text(encoding="utf-8")).get(timeout=60)
        yield SimpleNamespace(
            typeset=cache(lambda tex, display: v8.call("typeset", tex, display)),
            sheet=lambda: v8.call("sheet"),
        )


def typeset(page, mathjax):
    """Return the text of a page with its formulas set, and the faults of these."""
    faults = []

    def formula(match):
        tex = html.unescape(match[2])
        shown = mathjax.typeset(tex, match[1] == "display")
        if fault := ERROR.search(shown):
            faults.append(f"{html.unescape(fault[1])} in {tex!r}")
        return shown

    return FORMULA.sub(formula, ATTACHED.sub(_unbroken, page)), faults


def _unbroken(match):
    return f'<span class="unbroken">{match[0]}</span>' if any(match.groups()) else match[0]


def needed(css, pages):
    """Return the style sheet without the rules for characters that no page shows."""
    shown = {name for page in pages for name in CHARACTER.findall(page)}
    return RULE.sub(lambda rule: rule[0] if rule[1] in shown else "", css)


def typeset_pages(app, exception):
    """Set the formulas of the pages on the disk, and write their style sheet."""
    if exception or app.builder.format != "html":
        return
    macros = app.config.mathjax3_config.get("tex", {}).get("macros", {})
    out, before, after = Path(app.outdir), {}, {}
    with engine(macros) as mathjax:
        for page in built_pages(out):
            before[page] = page.read_text(encoding="utf-8")
            after[page], faults = typeset(before[page], mathjax)
            for fault in faults:
                name = page.relative_to(out)
                logger.warning("%s: %.300s", name, fault, type="book", subtype="formulas")
        css = needed(mathjax.sheet(), after.values())
    sheet = out / "_static" / SHEET
    sheet.parent.mkdir(parents=True, exist_ok=True)
    sheet.write_text(css, encoding="utf-8")
    version = hashlib.sha256(css.encode()).hexdigest()[:8]
    for page, text in after.items():
        text = LINK.sub(rf"\1?v={version}", text)
        if text != before[page]:
            page.write_text(text, encoding="utf-8")


def visit_inline(self, node):
    """Write a formula in a line of text."""
    self.body.append(self.starttag(node, "span", "", CLASS="math notranslate nohighlight"))
    self.body.append(marked(node.astext()) + "</span>")
    raise nodes.SkipNode


def visit_display(self, node):
    """Write a displayed formula, after its number."""
    self.body.append(self.starttag(node, "div", CLASS="math notranslate nohighlight"))
    if node["number"]:
        self.body.append(f'<span class="eqno">({get_node_equation_number(self, node)})')
        self.add_permalink_ref(node, "Link to this equation")
        self.body.append("</span>")
    self.body.append(marked(_rows(node), display=True) + "</div>\n")
    raise nodes.SkipNode


def _rows(node):
    """Return the TeX of a displayed formula; several rows need an environment."""
    tex = node.astext()
    return tex if node["nowrap"] or r"\\" not in tex else rf"\begin{{split}}{tex}\end{{split}}"


def setup(app):
    """Connect the extension to Sphinx, after the slides and before the checks of the pages."""
    app.add_html_math_renderer("typeset", (visit_inline, None), (visit_display, None))
    app.config.html_math_renderer = "typeset"
    app.add_css_file(SHEET)
    app.connect("build-finished", typeset_pages, priority=600)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
