"""Make slides and hand-outs from `book/slides/` and from the figures of the book.

An image `![](fig-name)` stands for the figure of that name, wherever in the book it is: the slide
shows the picture and the description that the page has, so it can be neither out of date nor
without words for a screen reader. The hand-out of a deck shows what stands before the first press
of a key, and has lines to write on where the slides answer.

The slides run on reveal.js, which comes inside the installed package sphinx-revealjs. nbconvert
could write slides as well; its page asks other hosts for four libraries.
"""

import html
import shutil
from importlib.resources import files
from pathlib import Path

import decks
from bs4 import BeautifulSoup
from formulas import marked
from markdown_it import MarkdownIt
from mdit_py_plugins.dollarmath import dollarmath_plugin
from sphinx.util import logging

logger = logging.getLogger(__name__)

PAGES = "slides"
REVEAL = ("LICENSE", "dist/reset.css", "dist/reveal.css", "dist/reveal.js", "plugin/notes/notes.js")
LINES = 3  # to write on, for each part that the slides show later
HEAD = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<link rel="icon" href="../_static/favicon.svg">
{styles}
</head>
"""
STYLE = '<link rel="stylesheet" href="../_static/{}">'
SLIDES = """<body>
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
  pdfSeparateFragments: false, plugins: [RevealNotes],
}});
</script>
</body>
</html>
"""
HANDOUT = """<body>
<main>
{slides}
</main>
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


def slides(deck, known):
    """Return the page of slides; a figure that is not in `known` leaves a note in its place."""
    markdown = _markdown()
    sections = []
    for slide in deck.slides:
        first, *later = (_rendered(part, markdown, known) for part in slide.parts)
        body = first + "".join(f'<div class="fragment">{part}</div>\n' for part in later)
        time = f"{slide.minutes} minute" + "s" * (slide.minutes != 1)
        note = markdown.render(f"*{time}.*\n\n{slide.note}")
        sections.append(f'<section>\n{body}<aside class="notes">{note}</aside>\n</section>')
    styles = ("reveal/dist/reset.css", "reveal/dist/reveal.css", "mathjax/formulas.css")
    head = _head(deck.title, *styles, "slides.css")
    return head + SLIDES.format(slides="\n".join(sections))


def handout(deck, known):
    """Return the page of the hand-out: questions and pictures, and lines for the answers."""
    markdown, ruled = _markdown(), '<div class="line"></div>' * LINES
    sections = []
    for slide in deck.slides:
        if slide.printed:
            first = _rendered(slide.parts[0], markdown, known)
            room = ruled * min(len(slide.parts) - 1, 3)
            sections.append(f"<section>\n{first}{room}</section>")
        else:  # its place is left for notes
            sections.append(f"<section>\n{ruled * min(len(slide.parts), 3)}</section>")
    head = _head(f"{deck.title}: hand-out", "mathjax/formulas.css", "handout.css")
    return head + HANDOUT.format(slides="\n".join(sections))


def _head(title, *styles):
    links = "\n".join(STYLE.format(name) for name in styles)
    return HEAD.format(title=html.escape(title), styles=links)


def _markdown():
    return MarkdownIt("commonmark").use(dollarmath_plugin, renderer=_formula)


def _formula(content, options):
    return marked(content, options["display_mode"])


def _rendered(text, markdown, known):
    def picture(match):
        if match[1] not in known:
            return f'<p class="missing">The figure {match[1]} is missing in this build.</p>'
        link, source, alt = known[match[1]]
        text = html.escape(alt)
        return f'<a class="figure" href="{link}"><img src="{source}" alt="{text}"></a>'

    return markdown.render(decks.FIGURE.sub(picture, text))


def write(app, exception):
    """Write the slides beside the pages, once these are there."""
    found = decks.read_all(app.srcdir)
    if exception or app.builder.format != "html" or not found:
        return
    out = Path(app.outdir)
    for name in REVEAL:
        target = out / "_static" / "reveal" / name
        target.parent.mkdir(parents=True, exist_ok=True)
        # Not loaded as an extension, which would add its own builders.
        shutil.copyfile(files("sphinx_revealjs") / "_static" / "revealjs" / name, target)
    known = figures(out)
    (out / PAGES).mkdir(exist_ok=True)
    for deck in found:
        for slide in deck.slides:
            for name in decks.FIGURE.findall(slide.text):
                if name not in known:
                    words = "%s.md shows %r, which is no figure here"
                    logger.warning(words, deck.name, name, type="book")
        (out / PAGES / f"{deck.name}.html").write_text(slides(deck, known), encoding="utf-8")
        page = out / PAGES / f"{deck.name}-handout.html"
        page.write_text(handout(deck, known), encoding="utf-8")


def setup(app):
    """Connect the extension to Sphinx, before the check of what comes from other hosts."""
    app.connect("build-finished", write, priority=500)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
