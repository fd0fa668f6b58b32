"""The built book, read in a real browser: offline, without errors, by keyboard, on a phone.

`make check-book` sets LINDIFF_RENDERED=required: a missing book or browser is then a failure. In a
plain run of pytest these tests are skipped when one of the two is missing.
"""

import functools
import math
import os
import re
import shutil
import threading
from collections import namedtuple
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urldefrag, urljoin

import pytest
from bs4 import BeautifulSoup
from offline import built_pages

SITE = Path(__file__).resolve().parent.parent / "_build" / "html"
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
FLAGS = [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync",
    "--disable-background-networking", "--disable-component-update",
]  # fmt: skip
PAGES = [page.relative_to(SITE).as_posix() for page in built_pages(SITE)]
SLIDES = "slides/index.html"
# The first page of the folder only forwards to the title page of the book.
CONTENT = [page for page in PAGES if page not in ("index.html", SLIDES)]
CHAPTERS = [page for page in PAGES if page.startswith("notebooks/")]
PHONE = {"width": 390, "height": 844}

pytestmark = pytest.mark.rendered


def missing(what, remedy):
    """Skip, or fail where the book must be tested."""
    message = f"{what} is missing: {remedy}"
    if os.environ.get("LINDIFF_RENDERED") == "required":
        pytest.fail(message, pytrace=False)
    pytest.skip(message)


@pytest.fixture(scope="session", autouse=True)
def site():
    if not CHAPTERS:
        missing(f"a built book in {SITE}", "run `make book` first")
    return SITE


@pytest.fixture(scope="session")
def browser(site):
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
        settle(page)
        return Visit(page, outside, complaints)

    yield open_page
    for context in contexts:
        context.close()


def settle(page):
    """Wait until the formulas are set."""
    page.wait_for_function(
        "() => !window.MathJax || (MathJax.startup && MathJax.startup.promise !== undefined)"
    )
    page.evaluate("async () => { if (window.MathJax) await MathJax.startup.promise }")


def test_there_is_a_book_and_a_browser(browser):
    """Without pages the tests of pages have nothing to run on; this one then says so."""
    assert browser.is_connected()


# --- what a reader sees -------------------------------------------------------------------------

UNSET = """() => {
  const math = [...document.querySelectorAll('#main-content .math')];
  return {
    unset: math.filter(m => !m.querySelector('mjx-container')).map(m => m.textContent),
    errors: [...document.querySelectorAll('mjx-merror, [data-mjx-error]')].map(e => e.textContent),
  };
}"""
# Code may well show a dollar sign or a backslash; running text may not.
RAW = """() => {
  const text = document.querySelector('#main-content').cloneNode(true);
  text.querySelectorAll('pre, code, script, style, mjx-container').forEach(e => e.remove());
  return text.textContent;
}"""


@pytest.mark.parametrize("where", ["http", "file"])
@pytest.mark.parametrize("name", CONTENT)
def test_page_is_complete_without_a_network(visit, name, where):
    page, outside, complaints = visit(name, where)
    assert outside == []
    assert complaints == []
    formulas = page.evaluate(UNSET)
    assert formulas == {"unset": [], "errors": []}
    raw = page.evaluate(RAW)
    assert not re.search(r"\\\(|\\\[|\$\$|\\begin\{", raw), "a formula was left as it was typed"
    assert "Traceback (most recent call last)" not in page.inner_text("body")


@pytest.mark.parametrize("name", CONTENT)
def test_page_fits_a_phone(visit, name):
    page = visit(name, viewport=PHONE).page
    width = page.evaluate("document.scrollingElement.scrollWidth")
    assert width <= PHONE["width"], f"the page is {width} pixels wide"


@pytest.mark.parametrize("name", CONTENT)
def test_page_is_accessible(visit, name):
    page = visit(name, color_scheme="light").page
    page.wait_for_timeout(1500)  # the theme fades its colours in
    assert (
        axe_faults(page, "light", {"rules": {"label-content-name-mismatch": {"enabled": True}}})
        == []
    )
    # The other colours are the only difference of the dark page.
    page.emulate_media(color_scheme="dark")
    page.wait_for_timeout(1500)
    assert axe_faults(page, "dark", {"runOnly": ["color-contrast"]}) == []


def axe_faults(page, theme, options):
    """Return what axe-core objects to in the page as it is shown now."""
    from axe_playwright_python.sync_playwright import Axe

    assert page.evaluate("document.documentElement.dataset.theme") == theme
    options |= {"resultTypes": ["violations"], "preload": False}
    return [
        f"{theme}: {fault['id']}: {node['html'][:200]}"
        for fault in Axe().run(page, options=options).response["violations"]
        for node in fault["nodes"]
    ]


def test_the_folder_opens_the_title_page(visit):
    page = visit("index.html", "file").page
    page.wait_for_url("**/book/index.html")
    assert page.inner_text("h1")


# --- what a reader does -------------------------------------------------------------------------


@functools.cache
def anchors(path):
    """Return the links of a page and all places in it that a link can point to."""
    soup = BeautifulSoup(path.read_text(encoding="utf-8"), "html.parser")
    targets = {tag[key] for key in ("id", "name") for tag in soup.find_all(attrs={key: True})}
    return [tag["href"] for tag in soup.find_all("a", href=True)], targets


@pytest.mark.parametrize("name", PAGES)
def test_links_of_a_page_lead_somewhere(name):
    broken = []
    for link in anchors(SITE / name)[0]:
        target, fragment = urldefrag(urljoin(f"/{name}", link))
        if re.match(r"[a-z]+:|//", target):
            continue
        file = SITE / unquote(target.split("?")[0]).lstrip("/")
        if not file.is_file():
            broken.append(link)
        elif fragment and file.suffix == ".html" and unquote(fragment) not in anchors(file)[1]:
            broken.append(link)
    assert broken == []


@pytest.mark.parametrize("where", ["http", "file"])
def test_search_finds_a_word(visit, where):
    page, outside, complaints = visit("search.html?q=eigenvalue", where)
    page.wait_for_selector("#search-results li a")
    page.wait_for_function("/finished/.test(document.querySelector('.search-summary').innerText)")
    found = page.eval_on_selector_all("#search-results li a", "links => links.map(a => a.href)")
    assert any("/notebooks/" in link for link in found), found
    assert outside == [] and complaints == []


@pytest.mark.parametrize("name", CHAPTERS)
def test_sliders_obey_the_keyboard(visit, name):
    page = visit(name, viewport=PHONE).page
    shown = "f => [...f.querySelectorAll('.frames-stage > img')].findIndex(i => !i.hidden)"
    visible = (
        "f => [...f.querySelectorAll('.frames-stage > img')].filter(i => i.offsetWidth).length"
    )
    for figure in page.query_selector_all("figure.frames"):
        sliders = figure.query_selector_all("input[type=range]")
        outputs = figure.query_selector_all("output")
        seen = []
        for slider, output in zip(sliders, outputs, strict=True):
            slider.focus()
            page.keyboard.press("Home")
            first, label = figure.evaluate(shown), output.inner_text()
            page.keyboard.press("ArrowRight")
            seen.append(figure.evaluate(shown) - first)
            assert output.inner_text() != label
            assert figure.evaluate(visible) == 1
            assert slider.evaluate("s => getComputedStyle(s).outlineStyle") != "none"
        lengths = [int(slider.get_attribute("max")) + 1 for slider in sliders]
        assert seen == [math.prod(lengths[k + 1 :]) for k in range(len(lengths))]


@pytest.mark.parametrize("name", CHAPTERS)
def test_solutions_are_hidden_until_asked_for(visit, name):
    page = visit(name).page
    solutions = page.query_selector_all(".solution.dropdown")
    assert solutions, "a chapter has exercises, and each one a solution"
    button = solutions[0].query_selector("button.toggle-button")
    assert not solutions[0].query_selector("section").is_visible()
    button.focus()
    page.keyboard.press("Enter")
    assert solutions[0].query_selector("section").is_visible()


# --- what a lecturer does -----------------------------------------------------------------------


@pytest.mark.parametrize("where", ["http", "file"])
def test_slides_follow_the_arrow_keys_without_a_network(visit, where):
    page, outside, complaints = visit(SLIDES, where, viewport={"width": 1120, "height": 700})
    page.wait_for_function("() => window.Reveal && Reveal.isReady()")
    total = page.evaluate("Reveal.getTotalSlides()")
    assert total >= 15
    heights, titles = [], set()
    for number in range(total):
        assert page.evaluate("Reveal.getSlidePastCount()") == number
        heights.append(page.evaluate("Reveal.getCurrentSlide().scrollHeight"))
        titles.add(page.evaluate("Reveal.getCurrentSlide().querySelector('h1, h2').innerText"))
        page.keyboard.press("ArrowRight")
    assert max(heights) <= 700, "a slide is higher than the screen"
    assert len(titles) == total
    assert outside == [] and complaints == []


def test_slides_are_complete_and_accessible(visit):
    page = visit(SLIDES).page
    slides = page.query_selector_all(".slides > section")
    assert all(len(slide.query_selector_all("img")) == 1 for slide in slides)
    assert page.evaluate("[...document.images].every(i => i.naturalWidth > 0 && i.alt.length > 30)")
    assert not re.search(r"\\\(|\\\[|\$", page.inner_text("body"))
    assert page.query_selector_all("mjx-container") and not page.query_selector_all("mjx-merror")
    page.evaluate("document.documentElement.dataset.theme = 'light'")
    assert axe_faults(page, "light", {}) == []
