"""Let a page arrive light and stand still.

The theme makes each page load scripts that this book never uses, a third of its weight, and
chooses between its light and its dark colours only after the page is laid out. `lighten` corrects
both. `sized` writes the size of each picture into the page, in CSS pixels: a figure is as wide as
its inches say, however fine its pixels are, and the text below it keeps its place while it loads.
"""

import base64
import re
import struct
from pathlib import Path

from offline import built_pages

# 1.5 MB that replace each icon by a drawing; the style sheet shows the same icons from a font.
ICONS = re.compile(r'<script defer src="[^"]*_static/scripts/fontawesome\.js[^"]*"></script>\n?')
# The index of the whole book, for a search while one types, which is off.
INDEX = re.compile(
    r'<script src="[^"]*(?:_static/searchtools|_static/language_data|searchindex)\.js"></script>\n?'
)
SEARCH = "search.html"
# The script of the theme does the same later, and every style is then computed a second time.
THEME = """
const root = document.documentElement.dataset;
if (root.theme === "auto") {
  root.theme = matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light";
}
"""
IMAGE = re.compile(r"<img\b(?![^>]* width=)[^>]*?\bsrc=\"([^\"]+)\"[^>]*?(?=/?>)")
DATA = "data:image/png;base64,"
HEAD = 4096  # bytes; the size comes before them, after a palette of a kilobyte
CSS_PIXELS = 96  # in an inch
METRES = 0.0254  # in an inch


def lighten(html, search=False):
    """Return the page `html` without the scripts that it loads and never uses."""
    html = ICONS.sub("", html)
    return html if search else INDEX.sub("", html)


def sized(html, folder):
    """Return the page `html`, which lies in `folder`, with the sizes of its pictures."""

    def tag(match):
        data = _beginning(match[1], folder)
        size = png_size(data) if data else None
        return match[0] if size is None else f'{match[0]} width="{size[0]}" height="{size[1]}"'

    return IMAGE.sub(tag, html)


def _beginning(source, folder):
    """Return the first bytes of a PNG file that is beside the page or inside it."""
    if source.startswith(DATA):
        return base64.b64decode(source[len(DATA) :][:HEAD])
    path = Path(folder, source)
    return path.read_bytes()[:HEAD] if path.suffix == ".png" and path.is_file() else None


def png_size(data):
    """Return width and height in CSS pixels from the beginning of a PNG file.

    A picture that does not say how many of its pixels make an inch has one per CSS pixel.
    """
    if not data.startswith(b"\x89PNG\r\n\x1a\n"):
        return None
    pixels, per_inch, start = struct.unpack(">II", data[16:24]), CSS_PIXELS, 8
    while start + 12 <= len(data):
        length, name = struct.unpack(">I4s", data[start : start + 8])
        if name == b"pHYs":
            per_metre, _, unit = struct.unpack(">IIB", data[start + 8 : start + 17])
            per_inch = per_metre * METRES if unit == 1 else per_inch
        if name in (b"pHYs", b"IDAT"):
            break
        start += length + 12
    return tuple(round(n / per_inch * CSS_PIXELS) for n in pixels)


def finish_pages(app, exception):
    """Rewrite the pages on the disk: no event of Sphinx sees a page in its final form."""
    if exception or app.builder.format != "html":
        return
    for page in built_pages(app.outdir):
        before = page.read_text(encoding="utf-8")
        after = lighten(sized(before, page.parent), search=page.name == SEARCH)
        if after != before:
            page.write_text(after, encoding="utf-8")


def setup(app):
    """Connect the extension to Sphinx, before the slides, whose pictures fill the screen."""
    app.add_js_file(None, priority=0, body=THEME.strip())
    app.connect("build-finished", finish_pages, priority=450)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
