"""The live figures in a real browser: their numbers, keyboard, touch, phone, dark, no script."""

import json
import re

import numpy as np
import pytest
from bs4 import BeautifulSoup
from rendered import LAPTOP, PHONE, SITE, axe_faults, missing
from script_numbers import COMPARISONS, digit_model, flow_pictures

pytestmark = [pytest.mark.rendered, pytest.mark.usefixtures("site")]

INDEX = "book/index.html"
SAMPLERS = "book/laboratory-samplers.html"
SPIKE = "book/laboratory-spike.html"
LIVE = (INDEX, SAMPLERS, SPIKE)
HIGH, LOW = 20, 0.03  # levels of the first page


@pytest.fixture
def live(visit):
    """A function that opens a page and waits until its figure is there."""
    if not (SITE / SPIKE).is_file():
        missing(f"the page {SPIKE}", "run `make book` first")

    def open_live(name, **options):
        options = {"viewport": LAPTOP, "reduced_motion": "reduce"} | options
        page, outside, complaints = visit(name, **options)
        page.wait_for_selector(".lab-ready", state="attached")
        assert outside == [] and complaints == []
        return page

    return open_live


@pytest.fixture
def call(live):
    page = live(INDEX)
    return lambda source, argument: page.evaluate(f"(it) => ({source})", argument)


@pytest.mark.parametrize("compare", COMPARISONS, ids=lambda one: one.__name__)
def test_the_browser_agrees_with_the_package(call, compare):
    compare(call, np.random.default_rng(19))


# --- the first page -----------------------------------------------------------------------------


def pixels(page, number):
    """Read the gray values of one of the two pictures of the first page."""
    return np.array(
        page.evaluate(
            """n => {
              const canvas = document.querySelectorAll('.lab-picture canvas')[n];
              const { data } = canvas.getContext('2d').getImageData(0, 0, 28, 28);
              return [...data].filter((_, k) => k % 4 === 0);
            }""",
            number,
        )
    )


def level(page):
    text = page.locator(".lab-timeline input").get_attribute("aria-valuetext")
    return float(text.removeprefix("σ = "))


def expected_pictures(page, digit, draw):
    """What the pictures should show at the end, from the package; `draw` counts the noise."""
    data = json.loads(page.locator(".laboratory-live script").text_content())
    seed = int(page.locator(".laboratory-live").get_attribute("data-seed"))
    noise = page.evaluate(
        "([seed, n]) => [...new lindiff.Random(seed).normals(n)]", [seed, 784 * (draw + 1)]
    )
    noise = np.array(noise)[784 * draw :]
    state, guess = flow_pictures(digit_model(data, digit), noise, LOW, HIGH)
    state = (state + 2 * LOW) / (1 + 4 * LOW)
    return [np.clip(255 * picture, 0, 255) for picture in (state, guess)]


def test_the_first_page_shows_the_exact_flow(live):
    page = live(INDEX)
    digit = int(page.locator(".lab-digits input:checked").get_attribute("value"))
    assert level(page) == LOW  # with reduced motion the film is over when it begins
    for draw in range(2):
        for number, expected in enumerate(expected_pictures(page, digit, draw)):
            assert abs(pixels(page, number) - expected).max() <= 0.51
        page.get_by_role("button", name="New noise").press("Enter")


def test_the_first_page_obeys_the_keyboard(live):
    page = live(INDEX)
    slider = page.locator(".lab-timeline input")
    slider.focus()
    page.keyboard.press("Home")
    start = pixels(page, 1)
    assert level(page) == HIGH
    page.keyboard.press("ArrowRight")
    assert level(page) < HIGH
    page.keyboard.press("End")
    assert level(page) == LOW
    assert abs(pixels(page, 1) - start).max() > 50
    words = page.locator(".lab-status").text_content()
    assert re.match(r"At σ = 0\.030, \d+ of 48 components are more signal than noise\.", words)
    before = pixels(page, 1)
    page.locator(".lab-digits input:checked").focus()
    page.keyboard.press("ArrowRight")
    assert abs(pixels(page, 1) - before).max() > 50  # the same noise, another digit
    digit = int(page.locator(".lab-digits input:checked").get_attribute("value"))
    assert abs(pixels(page, 1) - expected_pictures(page, digit, 0)[1]).max() <= 0.51


def test_the_film_runs_and_can_be_stopped(live):
    page = live(INDEX, reduced_motion="no-preference")
    page.wait_for_function("document.querySelector('.lab-timeline input').value > 5")
    page.get_by_role("button", name="Pause").press("Enter")
    stopped = level(page)
    page.wait_for_timeout(300)
    assert level(page) == stopped < HIGH
    page.get_by_role("button", name="Play").click()
    page.get_by_role("button", name="Pause").wait_for()
    page.wait_for_function("document.querySelector('.lab-timeline input').value == 240")
    page.get_by_role("button", name="Play").wait_for()
    assert level(page) == LOW


def test_a_finger_on_the_plot_moves_the_level(live):
    page = live(INDEX, viewport=PHONE, has_touch=True)
    plot = page.locator(".lab-plot")
    plot.scroll_into_view_if_needed()
    box = plot.bounding_box()
    page.touchscreen.tap(box["x"] + 0.5 * box["width"], box["y"] + 0.4 * box["height"])
    assert 0.3 < level(page) < 2
    dots = page.locator(".lab-dot")
    assert dots.count() == 5


# --- the laboratories ---------------------------------------------------------------------------


def shown(page):
    return page.locator(".lab-numbers dd").all_text_contents()


def control(page, label):
    return page.get_by_label(label, exact=True)


def test_the_sampler_laboratory_shows_its_numbers(live):
    page = live(SAMPLERS)

    def numbers(**changes):
        base = {
            "modes": 64, "high": 40, "low": 0.0005, "slope": 2, "steps": 10, "weight": 1,
            "schedule": "geometric", "rule": "ddim", "eta": 1,
        }  # fmt: skip
        source = (
            "it => { const o = lindiff.samplerLaboratory(it); return [o.distance, o.evaluations]; }"
        )
        return page.evaluate(source, base | changes)

    def agree(**changes):
        distance, evaluations = numbers(**changes)
        words = shown(page)
        assert abs(float(words[0]) - distance) <= 0.0051 * max(distance, 0.1), (words, distance)
        assert words[-3] == str(evaluations)

    agree()
    control(page, "Rule").select_option("heun")
    agree(rule="heun")
    control(page, "Levels").select_option("karras")
    agree(rule="heun", schedule="karras")
    control(page, "Steps").press("ArrowRight")
    agree(rule="heun", schedule="karras", steps=12)
    control(page, "Slope").press("Home")
    agree(rule="heun", schedule="karras", steps=12, slope=0.5)
    control(page, "Guidance").press("End")
    agree(rule="heun", schedule="karras", steps=12, slope=0.5, weight=4)
    assert len(shown(page)) == 5 and page.locator(".lab-legend li").count() == 5
    eta = control(page, "Noise η")
    assert eta.is_disabled()
    control(page, "Rule").select_option("eta")
    eta.press("Home")
    agree(rule="eta", eta=0, schedule="karras", steps=12, slope=0.5, weight=4)


def test_the_sampler_laboratory_survives_every_setting(live):
    page = live(SAMPLERS)
    for label in ("Steps", "Slope", "Guidance"):
        for key in ("Home", "End"):
            control(page, label).press(key)
            for rule in ("ddim", "eta", "ancestral", "heun", "rescaled"):
                control(page, "Rule").select_option(rule)
                for levels in ("geometric", "karras", "uniform", "angles"):
                    control(page, "Levels").select_option(levels)
                    assert "NaN" not in page.locator(".laboratory").inner_html(), (label, key, rule)


def test_the_spike_laboratory_draws(live):
    page = live(SPIKE)
    points = page.locator(".lab-plot").first.locator(".lab-point")
    first = points.count()  # each draw is a square; the last one stands out
    status = page.locator(".lab-status")
    before = status.text_content()
    page.get_by_role("button", name="Draw once").press("Enter")
    assert points.count() == first + 1 and status.text_content() != before
    page.get_by_role("button", name="Draw at 25 levels").press("Enter")
    assert points.count() == first + 27
    law = float(re.search(r"c² = ([\d.]+)", status.text_content())[1])
    sigma = float(control(page, "Noise").get_attribute("aria-valuetext").removeprefix("σ = "))
    exact = page.evaluate("s => lindiff.alignmentLimit(1, s, 0.784)", sigma)
    assert abs(law - exact) < 0.002
    control(page, "Noise").press("Home")
    assert "the law says c² = 0" in status.text_content()
    assert points.count() == first + 27  # all draws stay, one of the 25 is at this level
    control(page, "Samples").press("ArrowRight")
    assert points.count() == first  # another law: its draws begin from nothing
    page.get_by_role("button", name="Clear").press("Enter")
    assert points.count() == 0


@pytest.mark.parametrize("label", ["Noise", "Samples", "Pixels", "Signal"])
def test_the_spike_laboratory_survives_every_setting(live, label):
    page = live(SPIKE)
    for key in ("Home", "End"):
        control(page, label).press(key)
        page.get_by_role("button", name="Draw once").press("Enter")
        assert "NaN" not in page.locator(".laboratory").inner_html()
        assert re.search(r"last draw at this level says \d", page.inner_text(".lab-status"))


def test_a_seed_makes_the_same_draw(live):
    texts = {live(SPIKE).locator(".lab-status").text_content() for _ in range(2)}
    assert len(texts) == 1


# --- every reader -------------------------------------------------------------------------------


@pytest.mark.parametrize("name", LIVE)
def test_live_figures_fit_a_phone_and_a_finger(live, name):
    page = live(name, viewport=PHONE, has_touch=True)
    assert page.evaluate("document.scrollingElement.scrollWidth") <= PHONE["width"]
    sizes = page.eval_on_selector_all(
        ".laboratory :is(button, select, input)",
        "all => all.map(one => [one.offsetWidth, one.offsetHeight])",
    )
    assert sizes and min(min(size) for size in sizes) >= 40, sizes
    small = """all => all.filter(t => {
      const scale = t.ownerSVGElement.getBoundingClientRect().width
        / (t.ownerSVGElement.viewBox.baseVal.width || 1);
      return parseFloat(getComputedStyle(t).fontSize) * scale < 10;
    }).map(t => t.textContent)"""
    assert page.eval_on_selector_all(".laboratory svg text", small) == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("name", LIVE)
def test_live_figures_can_be_seen_in_both_themes(live, name, scheme):
    page = live(name, color_scheme=scheme)
    page.wait_for_timeout(1500)  # the theme fades its colours in
    assert axe_faults(page, scheme, {}) == []
    contrasts = page.evaluate("""() => {
      const light = colour => {
        const probe = document.createElement('canvas').getContext('2d');
        probe.fillStyle = colour;
        probe.fillRect(0, 0, 1, 1);
        const linear = [...probe.getImageData(0, 0, 1, 1).data].slice(0, 3).map(c =>
          c / 255 <= 0.04045 ? c / 255 / 12.92 : ((c / 255 + 0.055) / 1.055) ** 2.4);
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2];
      };
      const style = getComputedStyle(document.querySelector('.laboratory'));
      const paper = light(style.getPropertyValue('--pst-color-background'));
      return [0, 1, 2, 3, 4].map(k => {
        const ink = light(style.getPropertyValue(`--mode-${k}`));
        return (Math.max(ink, paper) + 0.05) / (Math.min(ink, paper) + 0.05);
      });
    }""")
    assert min(contrasts) > 3, contrasts


@pytest.mark.parametrize("name", LIVE)
def test_the_focus_is_seen(live, name):
    page = live(name)
    page.keyboard.press("Tab")
    for one in page.query_selector_all(".laboratory :is(button, select, input:not(:disabled))"):
        one.focus()
        seen = """e => [e, e.nextElementSibling].some(
          x => x && getComputedStyle(x).outlineStyle !== 'none')"""
        assert one.evaluate(seen), one.inner_html()


@pytest.mark.parametrize("name", LIVE)
def test_without_scripts_there_are_words(browser, addresses, name):
    context = browser.new_context(java_script_enabled=False, viewport=LAPTOP)
    page = context.new_page()
    page.goto(addresses["http"] + name)
    figure = page.locator("figure.laboratory")
    assert "needs a browser that runs scripts" in figure.inner_text()
    assert not page.locator(".laboratory-live").is_visible()
    if name == INDEX:
        assert figure.locator("img").is_visible()
    context.close()


@pytest.mark.parametrize("name", LIVE)
def test_live_figures_are_light(name):
    """Script, style and data of all live figures of a page together."""
    html = (SITE / name).read_text(encoding="utf-8")
    data = BeautifulSoup(html, "html.parser").select(".laboratory-live script")
    size = sum(len(one.string) for one in data)
    for script in re.findall(r"_static/(l[a-z-]+\.(?:js|css))", html):
        size += (SITE / "_static" / script).stat().st_size
    assert 10_000 < size < 200_000, size
