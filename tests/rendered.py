"""What the tests of the built book share: the book, a browser, and a page opened in it.

`make check-book` sets LINDIFF_RENDERED=required: a missing book or browser is then a failure. In a
plain run of pytest these tests are skipped when one of the two is missing. `conftest.py` imports
the fixtures for every test, so nothing that only a browser needs is imported at the top.
"""

import functools
import os
import shutil
import threading
from collections import namedtuple
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

SITE = Path(__file__).resolve().parent.parent / "_build" / "html"
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
FLAGS = [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync",
    "--disable-background-networking", "--disable-component-update",
]  # fmt: skip
PHONE = {"width": 390, "height": 844}
LAPTOP = {"width": 1280, "height": 800}


def missing(what, remedy):
    """Skip, or fail where the book must be tested."""
    message = f"{what} is missing: {remedy}"
    if os.environ.get("LINDIFF_RENDERED") == "required":
        pytest.fail(message, pytrace=False)
    pytest.skip(message)


@pytest.fixture(scope="session")
def site():
    """The folder of the built book."""
    if not any((SITE / "notebooks").glob("*.html")):
        missing(f"a built book in {SITE}", "run `make book` first")
    return SITE


@pytest.fixture(scope="session")
def browser(site):
    """A headless Chromium."""
    program = next(filter(None, map(shutil.which, BROWSERS)), None)
    if program is None:
        missing("Chromium", "on Debian or Ubuntu, run `apt-get install chromium`")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=FLAGS)
        yield browser
        browser.close()


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *arguments):
        pass


@pytest.fixture(scope="session")
def addresses(site):
    """The two places where readers open the book: a web server, and their own disk."""
    handler = functools.partial(Quiet, directory=str(site))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield {"http": f"http://127.0.0.1:{server.server_port}/", "file": f"{site.as_uri()}/"}
        server.shutdown()


Visit = namedtuple("Visit", "page outside complaints")


@pytest.fixture
def visit(browser, addresses):
    """A function that opens a page and notes all it asks for and all it complains of."""
    contexts = []

    def open_page(name, where="http", **options):
        context = browser.new_context(**options)
        contexts.append(context)
        page, outside, complaints = context.new_page(), [], []
        inside = (addresses[where], "data:", "blob:")
        page.on("request", lambda r: r.url.startswith(inside) or outside.append(r.url))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("response", lambda r: r.status < 400 or complaints.append(f"{r.status} {r.url}"))
        page.on("requestfailed", lambda r: complaints.append(f"failed: {r.url[:200]}"))
        page.on(
            "console",
            lambda m: m.type not in ("error", "warning") or complaints.append(m.text),
        )
        page.goto(addresses[where] + name, wait_until="load")
        if name != "index.html":  # this one is left again at once, and nothing can be asked of it
            settle(page)
        return Visit(page, outside, complaints)

    yield open_page
    for context in contexts:
        context.close()


def settle(page):
    """Wait until the letters of the formulas are there."""
    page.evaluate("async () => { await document.fonts.ready }")


def unfold(page):
    """Open every fold and every solution of a page."""
    page.evaluate("""() => {
      document.querySelectorAll('#main-content details').forEach(fold => { fold.open = true });
      document.querySelectorAll('.toggle-hidden button.toggle-button').forEach(b => b.click());
    }""")
    page.wait_for_timeout(500)  # solutions fade in


def forget_repeated_words(page):
    """Keep one element of each look in code and formulas, and the text of all others.

    A chapter has ten thousand coloured words, and axe needs a minute to ask each for its contrast.
    """
    page.evaluate("""() => {
      const seen = new Set();
      for (const word of document.querySelectorAll('pre span, math *')) {
        const { color, backgroundColor, fontSize, fontWeight } = getComputedStyle(word);
        const around = word.closest('pre, math').parentElement.className;
        const look = [word.tagName, word.className, around, color, backgroundColor, fontSize,
                      fontWeight].join();
        if (seen.has(look)) word.dataset.again = '';
        seen.add(look);
      }
      document.querySelectorAll('[data-again]').forEach(w => w.replaceWith(...w.childNodes));
    }""")


def axe_faults(page, theme, options):
    """Return what axe-core objects to in the page as it is shown now."""
    from axe_playwright_python.sync_playwright import Axe

    # a busy machine takes its time to change the colours
    page.wait_for_function(f"document.documentElement.dataset.theme === '{theme}'")
    page.wait_for_timeout(500)
    options |= {"resultTypes": ["violations"], "preload": False}
    return [
        f"{theme}: {fault['id']}: {node['html'][:200]}"
        for fault in Axe().run(page, options=options).response["violations"]
        for node in fault["nodes"]
    ]
