"""The built book, read in a real browser: offline, without errors, by keyboard, on a phone."""

import functools
import math
import re
from urllib.parse import unquote, urldefrag, urljoin

import pytest
from bs4 import BeautifulSoup
from offline import built_pages
from rendered import LAPTOP, PHONE, SITE, axe_faults, forget_repeated_words, unfold

from lindiff.book.plots import SMALLEST_TEXT

PAGES = [page.relative_to(SITE).as_posix() for page in built_pages(SITE)]
HANDOUTS = [page for page in PAGES if page.endswith("-handout.html")]
DECKS = [page for page in PAGES if page.startswith("slides/") and page not in HANDOUTS]
# The first page of the folder only forwards to the title page of the book.
CONTENT = [page for page in PAGES if page not in ("index.html", *DECKS, *HANDOUTS)]
CHAPTERS = [page for page in PAGES if page.startswith("notebooks/")]
# The pages on which every formula, figure and line of code fits: all but those named here.
TOO_WIDE = ("book/api.html",)  # formulas in docstrings
FITTING = [page for page in CONTENT if page not in TOO_WIDE]

pytestmark = [pytest.mark.rendered, pytest.mark.usefixtures("site")]


def test_there_is_a_book_and_a_browser(browser):
    """Without pages the tests of pages have nothing to run on; this one then says so."""
    assert browser.is_connected()


# --- what a reader sees -------------------------------------------------------------------------

# Code may well show a dollar sign or a backslash; running text may not.
RAW = """() => {
  const text = document.querySelector('#main-content').cloneNode(true);
  text.querySelectorAll('pre, code, script, style, mjx-container').forEach(e => e.remove());
  return text.textContent;
}"""
# Each formula that has no letters, no size, or no words for a screen reader.
EMPTY = """() => [...document.querySelectorAll('article .math')].filter(m => {
  const box = m.querySelector('mjx-container > mjx-math');
  const words = m.querySelector('mjx-assistive-mml > math');
  return !box || !words || !words.textContent.trim() || !box.querySelector('mjx-c')
    || !(box.getBoundingClientRect().width > 2);
}).map(m => m.textContent)"""


@pytest.mark.parametrize("where", ["http", "file"])
@pytest.mark.parametrize("name", CONTENT)
def test_page_is_complete_without_a_network(visit, name, where):
    page, outside, complaints = visit(name, where)
    assert outside == []
    assert complaints == []
    raw = page.evaluate(RAW)
    assert not re.search(r"\\\(|\\\[|\$\$|\\begin\{", raw), "a formula was left as it was typed"
    assert "Traceback (most recent call last)" not in page.inner_text("body")


@pytest.mark.parametrize("name", CONTENT)
def test_formulas_are_there_before_any_script_runs(visit, name):
    """However slow the computer: the page arrives with its formulas set, and none is set later."""
    arrives = (SITE / name).read_text(encoding="utf-8")
    count = len(re.findall(r'<(?:span|div) class="math ', arrives))
    assert arrives.count("<mjx-container") == count
    assert "<tex-" not in arrives and "data-mjx-error" not in arrives
    page = visit(name).page
    unfold(page)
    assert page.evaluate("document.querySelectorAll('mjx-container').length") == count
    assert page.evaluate(EMPTY) == []
    assert page.evaluate("typeof MathJax") == "undefined"


WEIGHT = """() => {
  const loads = performance.getEntriesByType('resource');
  const size = list => list.reduce((sum, load) => sum + load.decodedBodySize, 0) / 1000;
  return {
    scripts: size(loads.filter(load => /\\.js/.test(load.name))),
    rest: size(loads.filter(load => !/\\.js|_images/.test(load.name))),
    requests: loads.filter(load => !/_images/.test(load.name)).length,
  };
}"""


@pytest.mark.parametrize("name", CONTENT)
def test_page_is_light(visit, name):
    """Besides its text and pictures, a page loads little more than a megabyte, uncompressed."""
    loads = visit(name).page.evaluate(WEIGHT)
    assert loads["scripts"] < (700 if name == "search.html" else 220), loads
    assert loads["rest"] < 1100, loads
    assert loads["requests"] < 45, loads


def test_colours_are_chosen_before_the_text_is_laid_out(browser, addresses):
    """A later choice would compute every style of the page a second time, and flash."""
    for scheme in ("light", "dark"):
        context = browser.new_context(color_scheme=scheme)
        context.add_init_script("""
          new MutationObserver((_, me) => {
            if (document.querySelector('#main-content')) {
              window.early = document.documentElement.dataset.theme; me.disconnect();
            }
          }).observe(document, {childList: true, subtree: true});
        """)
        page = context.new_page()
        page.goto(addresses["http"] + CHAPTERS[0])
        assert page.evaluate("window.early") == scheme
        assert page.evaluate("document.documentElement.dataset.theme") == scheme
        context.close()


@pytest.mark.parametrize("name", CONTENT)
def test_page_fits_a_phone(visit, name):
    page = visit(name, viewport=PHONE).page
    width = page.evaluate("document.scrollingElement.scrollWidth")
    assert width <= PHONE["width"], f"the page is {width} pixels wide"


# What is wider than the room it has: a formula of its own, or one in a line of text.
WIDE = """() => [...document.querySelectorAll('article .math')].flatMap(formula => {
  let line = formula;
  while (getComputedStyle(line).display.startsWith('inline')) line = line.parentElement;
  const width = formula.querySelector('mjx-math').getBoundingClientRect().width;
  const words = `${Math.round(width)} > ${line.clientWidth}: ${formula.textContent}`;
  return width > line.clientWidth + 1 ? [words] : [];
})"""


@pytest.mark.parametrize("name", FITTING)
def test_formulas_fit_a_phone(visit, name):
    page = visit(name, viewport=PHONE).page
    unfold(page)
    assert page.evaluate(WIDE) == []
    assert page.query_selector_all("#main-content .wide") == []


@pytest.mark.parametrize("name", FITTING)
def test_code_does_not_scroll_sideways_on_a_laptop(visit, name):
    page = visit(name, viewport=LAPTOP).page
    unfold(page)
    scrolls = "pre => pre.filter(p => p.scrollWidth > p.clientWidth).map(p => p.textContent)"
    assert page.eval_on_selector_all("#main-content .cell_input pre", scrolls) == []


@pytest.mark.parametrize("name", [name for name in FITTING if name in CHAPTERS])
def test_figures_can_be_read_on_a_phone(visit, name):
    """The smallest text of a figure is at least 8 CSS pixels high; the width says its inches."""
    page = visit(name, viewport=PHONE).page
    shown = page.eval_on_selector_all(
        "#main-content figure img",
        "all => all.map(i => [i.alt, i.offsetWidth, Number(i.getAttribute('width'))])",
    )
    small = {
        alt: round(size, 1)
        for alt, width, pixels in shown
        if width and (size := SMALLEST_TEXT / 72 * width / (pixels / 96)) < 8
    }
    assert shown and small == {}


def test_a_formula_that_is_too_wide_scrolls_and_says_so(visit):
    page = visit(CHAPTERS[0], viewport={"width": 240, "height": 700}).page
    wide = page.query_selector_all("#main-content .wide")
    assert len(wide) == len(page.evaluate(WIDE)) > 0
    for box in wide:
        style = "b => [getComputedStyle(b).overflowX, getComputedStyle(b).maskImage.slice(0, 6)]"
        assert box.evaluate(style) == ["auto", "linear"]
    assert wide[0].evaluate("b => { b.scrollLeft = 50; return b.scrollLeft }") == 50


@pytest.mark.parametrize("name", CONTENT)
def test_page_is_accessible(visit, name):
    page = visit(name, color_scheme="light").page
    unfold(page)
    page.wait_for_timeout(1500)  # the theme fades its colours in
    forget_repeated_words(page)
    assert (
        axe_faults(page, "light", {"rules": {"label-content-name-mismatch": {"enabled": True}}})
        == []
    )
    # The other colours are the only difference of the dark page.
    page.emulate_media(color_scheme="dark")
    page.wait_for_timeout(1500)
    assert axe_faults(page, "dark", {"runOnly": ["color-contrast"]}) == []


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


def results(page, what, result):
    """Return `result`, in JavaScript, of each page in the list that a search has found."""
    page.wait_for_selector("#search-results li a")
    page.wait_for_function("/finished/.test(document.querySelector('.search-summary').innerText)")
    return page.eval_on_selector_all(f"#search-results {what}", f"all => all.map(one => {result})")


@pytest.mark.parametrize("where", ["http", "file"])
def test_search_finds_a_word(visit, where):
    page, outside, complaints = visit("search.html?q=eigenvalue", where)
    found = results(page, "li a", "one.href")
    assert any("/notebooks/" in link for link in found), found
    assert outside == [] and complaints == []


@pytest.mark.parametrize("name", ["Marchenko", "Mar%C4%8Denko"])
def test_search_finds_a_name_in_both_spellings(visit, name):
    found = results(visit(f"search.html?q={name}").page, "li a", "one.href")
    assert any("/notebooks/04" in link for link in found), found


@pytest.mark.parametrize("word", ["Marchenko", "spectrum", "sigma", "noise_axis", "threshold"])
def test_excerpts_of_a_search_are_plain_text(visit, word):
    page = visit(f"search.html?q={word}").page
    found = results(page, "li", "!!one.querySelector('a[href*=notebooks]')")
    page.wait_for_function(
        "n => document.querySelectorAll('#search-results p.context').length >= n", arg=sum(found)
    )
    excerpts = page.eval_on_selector_all(
        "#search-results p.context", "all => all.map(p => p.innerText)"
    )
    assert sum(found) and not [
        text for text in excerpts if re.search(r"\\[A-Za-z]{2,}|\\[({\[]|\$", text)
    ]


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


# --- folds --------------------------------------------------------------------------------------

KINDS = {
    "figure": ".tag_hide-input details",
    "check": ".tag_hide-cell details",
    "proof": "details.sd-dropdown",
}
WRITTEN = [page for page in CHAPTERS if page in FITTING]


def test_there_are_folds_of_every_kind():
    pages = [(SITE / name).read_text(encoding="utf-8") for name in WRITTEN]
    for mark in ("Figure: ", "Check: ", ">Proof"):
        assert sum(page.count(mark) for page in pages) > 3 * len(WRITTEN), mark


@pytest.mark.parametrize("name", WRITTEN)
def test_folds_are_closed_and_open_by_keyboard(visit, name):
    page = visit(name).page
    for kind, selector in KINDS.items():
        for fold in page.query_selector_all(f"#main-content {selector}"):
            assert fold.get_attribute("open") is None
            words = fold.query_selector("summary").text_content().strip()
            assert words.lower().startswith(kind) or (kind == "proof" and words), words
        fold = page.query_selector(f"#main-content {selector}")
        page.keyboard.press("Tab")  # so that the browser shows where the focus is
        fold.query_selector("summary").focus()
        outline = "s => getComputedStyle(s).outlineStyle"
        assert fold.query_selector("summary").evaluate(outline) != "none"
        page.keyboard.press("Enter")
        assert fold.evaluate("f => f.open && f.lastElementChild.offsetHeight > 0")


@pytest.mark.parametrize("name", WRITTEN)
def test_folded_code_does_not_repeat_its_title(visit, name):
    page = visit(name).page
    assert not any("@title" in text for text in page.locator("pre").all_text_contents())


def inside(name, selector):
    """List the places of a page that a link can point to, inside what `selector` names."""
    soup = BeautifulSoup((SITE / name).read_text(encoding="utf-8"), "html.parser")
    return [tag["id"] for box in soup.select(selector) for tag in box.find_all(id=True)]


@pytest.mark.parametrize("selector", ["#main-content details", ".solution.dropdown section"])
def test_a_link_into_a_fold_opens_it(visit, addresses, selector):
    name, place = next((n, i) for n in CONTENT for i in inside(n, selector))
    seen = f"""() => {{
      const place = document.getElementById({place!r}), top = place.getBoundingClientRect().top;
      return place.checkVisibility({{visibilityProperty: true}}) && top >= 0 && top < innerHeight;
    }}"""
    page = visit(f"{name}#{place}").page
    page.wait_for_function(seen)
    page = visit(name).page
    assert not page.evaluate(seen)
    page.evaluate(f"location.hash = {place!r}")
    page.wait_for_function(seen)


def test_a_search_hit_in_a_fold_is_shown(visit):
    name = WRITTEN[0]
    soup = BeautifulSoup((SITE / name).read_text(encoding="utf-8"), "html.parser")
    folded = " ".join(fold.find("pre").get_text() for fold in soup.select(KINDS["check"]))
    for fold in soup.select("details"):
        fold.decompose()
    open_text = soup.get_text().lower()
    word = next(w for w in re.findall(r"[a-z]{5,}", folded) if w not in open_text)
    page = visit(f"{name}?highlight={word}").page
    page.wait_for_selector("details[open] .highlighted", state="visible")
    assert page.query_selector_all(f"{KINDS['figure']}:not([open])"), "all folds are open"


@pytest.mark.parametrize("name", WRITTEN)
def test_on_paper_proofs_are_open_and_folded_code_is_left_out(visit, name):
    page = visit(name).page
    page.emulate_media(media="print")
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    seen = "all => all.map(one => one.checkVisibility())"
    proofs = page.eval_on_selector_all("details.sd-dropdown > .sd-summary-content", seen)
    code = page.eval_on_selector_all("details.hide .cell_input", seen)
    printed = page.eval_on_selector_all(".tag_hide-cell .cell_output", seen)
    open_code = page.eval_on_selector_all(".cell > .cell_input", seen)
    figures = page.eval_on_selector_all(".tag_hide-input > .cell_output", seen)
    assert all(proofs) and proofs and code and not any(code)
    assert all(printed) and all(open_code) and open_code and all(figures) and figures
    page.evaluate("dispatchEvent(new Event('afterprint'))")
    assert page.query_selector_all("#main-content details[open]") == []


@pytest.mark.parametrize("name", CHAPTERS)
def test_a_link_to_an_equation_leads_to_it(browser, addresses, name):
    """The place is right when the page is there, and stays so: nothing above it changes height."""
    places = [i for i in inside(name, "article") if i.startswith(("equation-", "eq-"))]
    assert places
    context = browser.new_context(viewport=PHONE)
    page = context.new_page()
    page.goto(f"{addresses['http']}{name}#{places[-1]}", wait_until="load")
    top = f"document.getElementById({places[-1]!r}).getBoundingClientRect().top"
    first = page.evaluate(top)
    page.wait_for_timeout(1000)
    context.close()
    assert 0 <= first < 200


# --- what a lecturer does -----------------------------------------------------------------------


def test_there_are_slides_for_a_lecture_and_six_sessions():
    names = ["lecture", *(f"session-{k}" for k in range(1, 7))]
    assert [f"slides/{name}.html" for name in names] == DECKS
    assert [f"slides/{name}-handout.html" for name in names] == HANDOUTS


@pytest.mark.parametrize(
    ("name", "where"), [*((name, "http") for name in DECKS), (DECKS and DECKS[0], "file")]
)
def test_slides_follow_the_arrow_keys_without_a_network(visit, name, where):
    page, outside, complaints = visit(name, where, viewport={"width": 1120, "height": 700})
    page.wait_for_function("() => window.Reveal && Reveal.isReady()")
    total, later = page.evaluate(
        "[Reveal.getTotalSlides(), document.querySelectorAll('.fragment').length]"
    )
    assert total >= 15 and later >= 5
    titles = []
    for _ in range(total + later):
        title, height, shown = page.evaluate("""(() => {
          const slide = Reveal.getCurrentSlide();
          return [slide.querySelector('h1, h2').innerText, slide.scrollHeight, slide.innerText];
        })()""")
        if title not in titles:
            titles.append(title)
            assert "Key:" not in shown, f"the slide {title!r} opens with its answer"
        assert height <= 700, f"the slide {title!r} is higher than the screen"
        page.keyboard.press("ArrowRight")
    assert len(titles) == total
    assert outside == [] and complaints == []


@pytest.mark.parametrize("name", [*DECKS, *HANDOUTS])
def test_slides_and_hand_outs_are_complete(visit, name):
    page = visit(name).page
    assert page.query_selector_all("img")
    assert page.evaluate("[...document.images].every(i => i.naturalWidth > 0 && i.alt.length > 30)")
    assert page.query_selector(".missing") is None
    assert not re.search(r"\\\(|\\\[|\$|<tex-", page.inner_text("body"))
    assert page.query_selector_all("mjx-container") and not page.query_selector_all("mjx-merror")


@pytest.mark.parametrize("name", [*DECKS, *HANDOUTS])
def test_slides_and_hand_outs_are_accessible(visit, name):
    page = visit(name).page
    page.evaluate("document.documentElement.dataset.theme = 'light'")
    forget_repeated_words(page)
    assert axe_faults(page, "light", {}) == []


@pytest.mark.parametrize("name", HANDOUTS)
def test_a_hand_out_gives_no_answer_and_fits_a_phone(visit, name):
    page = visit(name, viewport=PHONE).page
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert page.query_selector_all(".line")
    assert "Key:" not in page.inner_text("body") and "minutes" not in page.inner_text("h1")
