"""Keep the book readable without a network.

A stock Jupyter Book page fetches MathJax and thebe from other hosts. This extension copies the
fonts of MathJax out of an installed package, leaves thebe out, and then reads every built page and
style sheet: whatever a browser would fetch from another host is reported as a warning, which the
strict build turns into a failure. Ordinary links are welcome; they load nothing until a reader
follows them.
"""

import re
import shutil
import warnings
from importlib.metadata import files
from pathlib import Path

from bs4 import BeautifulSoup
from sphinx.util import logging

logger = logging.getLogger(__name__)

MATHJAX = "sphinx-mathjax-offline"
# Pages arrive with their formulas set (see formulas.py), so the fonts are all they need of it.
FONTS = "output/chtml/fonts/woff-v2"

REMOTE = re.compile(r"\s*(?:https?:|wss?:|ftp:)?//", re.I)
# Names of XML vocabularies look like addresses but are never fetched.
VOCABULARY = re.compile(r"https?://www\.w3\.org/(?:1998|1999|2000)/[\w/.#-]+", re.I)
CSS_REMOTE = re.compile(
    r"""url\(\s*["']?\s*(?:https?:)?//[^)]*\)|@import\s+["']\s*(?:https?:)?//[^"']*["']""", re.I
)
SCRIPT_REMOTE = re.compile(r"""(?:https?|wss?)://[^\s"'`)]+""", re.I)
LOADING_LINKS = {
    "stylesheet", "icon", "preload", "modulepreload", "prefetch", "preconnect", "dns-prefetch",
    "manifest", "apple-touch-icon", "mask-icon",
}  # fmt: skip
LOADING_ATTRIBUTES = {
    "script": ("src",),
    "img": ("src",),
    "source": ("src",),
    "video": ("src", "poster"),
    "audio": ("src",),
    "track": ("src",),
    "iframe": ("src",),
    "frame": ("src",),
    "embed": ("src",),
    "object": ("data",),
    "input": ("src",),
    "image": ("href", "xlink:href"),
    "use": ("href", "xlink:href"),
}
# Opened from the disk, a page may not fetch the excerpts that the search shows below a title.
NO_EXCERPTS = (
    'if (location.protocol === "file:") DOCUMENTATION_OPTIONS.SHOW_SEARCH_SUMMARY = false;'
)


def remote_loads(html):
    """List what a browser would fetch from another host while showing the page `html`."""
    soup = BeautifulSoup(html, "html.parser")
    found = []
    for tag in soup.find_all(True):
        for name in LOADING_ATTRIBUTES.get(tag.name, ()):
            if REMOTE.match(tag.get(name, "")):
                found.append(f"<{tag.name} {name}> {tag[name]}")
        for candidate in re.split(r",\s+", tag.get("srcset", "")):
            if REMOTE.match(candidate):
                found.append(f"<{tag.name} srcset> {candidate}")
        if tag.name == "link" and LOADING_LINKS & {rel.lower() for rel in tag.get("rel", [])}:
            if REMOTE.match(tag.get("href", "")):
                found.append(f"<link> {tag['href']}")
        if tag.name == "base":
            found.append("<base> changes where every link of the page points")
        found += _remote_code(tag)
    return found


def _remote_code(tag):
    """List remote addresses in the style sheets and scripts that are written into the page."""
    styles = tag.get("style", "") + (tag.get_text() if tag.name == "style" else "")
    scripts = "\n".join(str(value) for name, value in tag.attrs.items() if name.startswith("on"))
    if tag.name == "script":
        scripts += tag.get_text()
    return [f"style: {load}" for load in remote_styles(styles)] + [
        f"script: {load}" for load in SCRIPT_REMOTE.findall(VOCABULARY.sub("", scripts))
    ]


def remote_styles(css):
    """List what a style sheet fetches from another host."""
    return CSS_REMOTE.findall(css)


def mathjax_folder():
    """Find the folder of the installed package that holds MathJax."""
    for file in files(MATHJAX) or ():
        if file.name == "tex-mml-chtml.js":
            return Path(file.locate()).parent
    raise FileNotFoundError(f"the installed package {MATHJAX} has no tex-mml-chtml.js")


def copy_fonts(app, exception):
    """Copy the fonts of MathJax to where their style sheet is."""
    if exception or app.builder.format != "html":
        return
    target = Path(app.outdir, "_static", "mathjax")
    shutil.copytree(mathjax_folder() / FONTS, target, dirs_exist_ok=True)


def drop_repeated_scripts(app, pagename, templatename, context, doctree):
    """Write each script once: Sphinx 7.4 lists inline scripts twice, and `let` then throws."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # an entry may be a plain string
        seen, kept = set(), []
        for script in context["script_files"]:
            body = getattr(script, "attributes", {}).get("body")
            if body is None or body not in seen:
                kept.append(script)
            seen.add(body)
    context["script_files"][:] = kept


def leave_out_thebe(app):
    """Disconnect sphinx_thebe: Jupyter Book always loads it, and it fetches from two hosts."""
    for event, listeners in app.events.listeners.items():
        app.events.listeners[event] = [
            one for one in listeners if not one.handler.__module__.startswith("sphinx_thebe")
        ]
    app.registry.css_files[:] = [
        entry for entry in app.registry.css_files if entry[0] != "sphinx-thebe.css"
    ]


def report(app, exception):
    """Warn of everything in the built book that comes from another host."""
    if exception or app.builder.format != "html":
        return
    out = Path(app.outdir)
    for page in built_pages(out):
        for load in remote_loads(page.read_text(encoding="utf-8")):
            _warn(page.relative_to(out), load)
    for sheet in sorted(out.rglob("*.css")):
        for load in remote_styles(sheet.read_text(encoding="utf-8")):
            _warn(sheet.relative_to(out), load)


def built_pages(out):
    """List the pages a reader opens: not the templates and sources beside them."""
    return [
        page
        for page in sorted(Path(out).rglob("*.html"))
        if page.relative_to(out).parts[0] not in ("_static", "_sources")
    ]


def _warn(name, load):
    logger.warning("%s loads from another host: %.200s", name, load, type="book", subtype="offline")


def setup(app):
    """Connect the extension to Sphinx."""
    leave_out_thebe(app)
    app.add_js_file(None, priority=201, body=NO_EXCERPTS)
    app.connect("html-page-context", drop_repeated_scripts, priority=900)
    app.connect("build-finished", copy_fonts, priority=400)
    app.connect("build-finished", report, priority=900)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
