"""Make the slides of a lecture from a text and from the figures of the book.

`book/slides.md` has one slide between two lines `---`. An image `![](fig-name)` stands for the
figure of that name, wherever in the book it is: the slide shows the picture and the description
that the page has, so it can be neither out of date nor without words for a screen reader. What
follows a line that starts with `Note:` is for the speaker.

The slides run on reveal.js, which comes inside the installed package sphinx-revealjs. nbconvert
could write slides as well; its page asks other hosts for four libraries.
"""

import html
import re
import shutil
from importlib.resources import files
from pathlib import Path

from bs4 import BeautifulSoup
from formulas import marked
from markdown_it import MarkdownIt
from mdit_py_plugins.dollarmath import dollarmath_plugin
from sphinx.util import logging

logger = logging.getLogger(__name__)

SOURCE, PAGE = "book/slides.md", "slides/index.html"
REVEAL = ("LICENSE", "dist/reset.css", "dist/reveal.css", "dist/reveal.js", "plugin/notes/notes.js")
FIGURE = re.compile(r"!\[\]\((fig-[\w-]+)\)")
TEMPLATE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<link rel="icon" href="../_static/favicon.svg">
<link rel="stylesheet" href="../_static/reveal/dist/reset.css">
<link rel="stylesheet" href="../_static/reveal/dist/reveal.css">
<link rel="stylesheet" href="../_static/mathjax/formulas.css">
<link rel="stylesheet" href="../_static/slides.css">
</head>
<body>
<main>
<div class="reveal">
<div class="slides">
{slides}
</div>
</div>
</main>
<script src="../_static/reveal/dist/reveal.js"></script>
<script src="../_static/reveal/plugin/notes/notes.js"></script>
<script>
Reveal.initialize({{
  hash: true, slideNumber: "c/t", transition: "none", width: 1120, height: 700, viewDistance: 99,
  plugins: [RevealNotes],
}});
</script>
</body>
</html>
"""


def figures(out):
    """Map the name of each figure of the built book to its page, picture and description."""
    found = {}
    for page in sorted([*out.glob("notebooks/*.html"), *out.glob("book/*.html")]):
        soup = BeautifulSoup(page.read_text(encoding="utf-8"), "html.parser")
        for figure in soup.find_all("figure", id=True):
            image = figure.find("img")
            if image is not None:
                link = f"../{page.relative_to(out).as_posix()}#{figure['id']}"
                found[figure["id"]] = link, image["src"], image.get("alt", "")
    return found


def render(text, known):
    """Return the page of slides; a figure that is not in `known` leaves a note in its place."""
    markdown = MarkdownIt("commonmark").use(dollarmath_plugin, renderer=_formula)
    slides = [_slide(part, markdown, known) for part in re.split(r"^---$", text, flags=re.M)]
    title = re.search(r"^# (.+)$", text, re.M)[1]
    return TEMPLATE.format(title=html.escape(title), slides="\n".join(slides))


def _formula(content, options):
    return marked(content, options["display_mode"])


def _slide(text, markdown, known):
    shown, _, note = text.partition("\nNote:")

    def picture(match):
        if match[1] not in known:
            return f'<p class="missing">The figure {match[1]} is missing in this build.</p>'
        link, source, alt = known[match[1]]
        text = html.escape(alt)
        return f'<a class="figure" href="{link}"><img src="{source}" alt="{text}"></a>'

    body = markdown.render(FIGURE.sub(picture, shown))
    aside = f'<aside class="notes">{markdown.render(note.strip())}</aside>\n' if note else ""
    return f"<section>\n{body}{aside}</section>"


def write(app, exception):
    """Write the slides beside the pages, once these are there."""
    source = Path(app.srcdir, SOURCE)
    if exception or app.builder.format != "html" or not source.exists():
        return
    out = Path(app.outdir)
    for name in REVEAL:
        target = out / "_static" / "reveal" / name
        target.parent.mkdir(parents=True, exist_ok=True)
        # Not loaded as an extension, which would add its own builders.
        shutil.copyfile(files("sphinx_revealjs") / "_static" / "revealjs" / name, target)
    text, known = source.read_text(encoding="utf-8"), figures(out)
    for name in FIGURE.findall(text):
        if name not in known:
            logger.warning("%s shows %r, which is no figure here", SOURCE, name, type="book")
    page = render(text, known)
    (out / PAGE).parent.mkdir(exist_ok=True)
    (out / PAGE).write_text(page, encoding="utf-8")


def setup(app):
    """Connect the extension to Sphinx, before the check of what comes from other hosts."""
    app.connect("build-finished", write, priority=500)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
