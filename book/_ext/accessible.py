"""Keep the book usable with a screen reader and a keyboard.

The theme and docutils write a few things that an accessibility checker rejects; `repair` corrects
them in the finished pages. What only an author can correct is a picture without words:
`report` warns of every image whose alternative text is missing or is a file name, and the strict
build fails on it.
"""

import re
from pathlib import Path

from bs4 import BeautifulSoup
from offline import built_pages
from sphinx.util import logging

logger = logging.getLogger(__name__)

# (pattern, replacement, reason). Each one leaves its own result alone, so a page may pass twice.
REPAIRS = [
    (
        r'<div id="pst-primary-sidebar" class=',
        '<div role="region" aria-label="Site" id="pst-primary-sidebar" class=',
        "the logo and the search field of the side bar belong to no landmark",
    ),
    (
        r'(<button class="btn search-button-field[^>]*?) aria-label="[^"]*"',
        r"\1",
        "the label hides the text that the button shows",
    ),
    (
        r'(<i class="theme-switch [^>]*?) title="[^"]*"',
        r'\1 aria-hidden="true"',
        "three pictures with three names make one button whose name is a fourth",
    ),
    (
        r'<summary aria-label="Toggle hidden content">',
        "<summary>",
        "the label hides the text that the summary shows",
    ),
    (
        r' role="doc-biblioentry"',
        ' role="listitem"',
        "the role is deprecated, and its parent is a list",
    ),
    (
        r"<th></th>",
        "<td></td>",
        "pandas heads the column of row labels with an empty heading",
    ),
    (
        r' id="(?:proof|exercise|solution)(?:-content)?"(?=>)',
        "",
        "sphinx-proof and sphinx-exercise give the same id to every box of a page",
    ),
]

FILE_NAME = re.compile(r"\S+\.(?:png|jpe?g|gif|svg|webp|avif|pdf|bmp|tiff?)", re.I)


def repair(html):
    """Return the page `html` with the known faults of the theme corrected."""
    for pattern, replacement, _ in REPAIRS:
        html = re.sub(pattern, replacement, html)
    return html


def unspoken_images(html):
    """List the images of a page that a screen reader could not put into words."""
    faults = []
    for image in BeautifulSoup(html, "html.parser").find_all(["img", "svg", "canvas"]):
        if image.get("role") in ("presentation", "none") or image.get("aria-hidden") == "true":
            continue
        fault = _fault(_words(image).strip(), image)
        if fault:
            faults.append(f"{fault}: {_shown(image)}")
    return faults


def _words(image):
    if image.name == "img":
        return image.get("alt") or ""
    title = image.find("title") if image.name == "svg" else None
    return image.get("aria-label") or (title.get_text() if title else "")


def _fault(words, image):
    stem = Path(image.get("src", "")[:200]).stem
    if not words:
        return "no alternative text"
    if FILE_NAME.fullmatch(words) or (stem and words in (stem, f"_images/{stem}")):
        return f"a file name as alternative text ({words})"
    return None


def _shown(image):
    attributes = " ".join(f'{name}="{str(value)[:60]}"' for name, value in image.attrs.items())
    return f"<{image.name} {attributes}>"


def repair_pages(app, exception):
    """Repair the pages on the disk: no event of Sphinx sees a page in its final form."""
    if exception or app.builder.format != "html":
        return
    for page in built_pages(app.outdir):
        before = page.read_text(encoding="utf-8")
        after = repair(before)
        if after != before:
            page.write_text(after, encoding="utf-8")


def report(app, exception):
    """Warn of every image without words."""
    if exception or app.builder.format != "html":
        return
    for page in built_pages(app.outdir):
        for fault in unspoken_images(page.read_text(encoding="utf-8")):
            name = page.relative_to(app.outdir)
            logger.warning("%s: %.300s", name, fault, type="book", subtype="accessible")


def setup(app):
    """Connect the extension to Sphinx."""
    app.connect("build-finished", repair_pages, priority=800)
    app.connect("build-finished", report, priority=900)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
