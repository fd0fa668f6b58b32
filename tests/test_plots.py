"""Figures: the grid of images, the style of modes, and the interactive figure."""

import base64
import json
import re
import subprocess
import sys
from html.parser import HTMLParser

import matplotlib
import numpy as np
import pytest

matplotlib.use("Agg")

import matplotlib.pyplot as plt

from lindiff.book import plots


@pytest.fixture(autouse=True)
def _clean_figures():
    """Restore the defaults and leave no figure open."""
    with plt.rc_context():
        yield
    plt.close("all")


def test_without_matplotlib_the_command_that_installs_it_is_given():
    code = "import sys; sys.modules['matplotlib'] = None; import lindiff.book.plots"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert "this needs the package matplotlib: pip install 'lindiff[book]'" in done.stderr


# ---------------------------------------------------------------- images


def tiles(figure, n, columns, shape):
    """Cut the picture of a grid back into n images by means of its tick positions."""
    ax = figure.axes[0]
    picture = np.asarray(ax.images[0].get_array().filled(np.nan))
    h, w = shape
    tops = [round(t - (h - 1) / 2) for t in ax.get_yticks()]
    lefts = [round(t - (w - 1) / 2) for t in ax.get_xticks()]
    return [
        picture[top : top + h, left : left + w]
        for top, left in (
            (tops[k // columns], lefts[k % columns]) for k in range(n)
        )
    ]  # fmt: skip


@pytest.mark.parametrize(("n", "columns", "lines"), [(6, 3, 2), (5, 3, 2), (4, None, 1), (1, 1, 1)])
@pytest.mark.parametrize("shape", [None, (2, 8)])
def test_every_row_appears_as_its_image_in_reading_order(rng, n, columns, lines, shape):
    rows = rng.uniform(0, 1, (n, 16))
    figure = plots.images(rows, columns=columns, limits=(0, 1), shape=shape)
    shape, columns = shape or (4, 4), columns or n
    assert len(figure.axes[0].get_yticks()) == lines
    assert len(figure.axes[0].get_xticks()) == columns
    for row, tile in zip(rows, tiles(figure, n, columns, shape), strict=True):
        np.testing.assert_array_equal(tile, row.reshape(shape))


def test_images_do_not_touch_each_other(rng):
    rows = rng.uniform(0, 1, (4, 16))
    picture = plots.images(rows, columns=2, limits=(0, 1)).axes[0].images[0].get_array()
    values = np.asarray(picture.filled(np.nan))
    assert np.isfinite(values).sum() == 64
    assert np.isnan(values[4]).all()
    assert np.isnan(values[:, 4]).all()


def test_limits_set_black_and_white_for_all_images(rng):
    figure = plots.images(rng.uniform(0, 1, (2, 16)), limits=(-1.0, 3.0))
    assert figure.axes[0].images[0].get_clim() == (-1.0, 3.0)


def test_without_limits_each_image_uses_its_own_range():
    rows = np.array([[0.0, 1.0, 2.0, 4.0], [-100.0, 0.0, 0.0, 300.0], [5.0, 5.0, 5.0, 5.0]])
    figure = plots.images(rows)
    assert figure.axes[0].images[0].get_clim() == (0, 1)
    first, second, flat = tiles(figure, 3, 3, (2, 2))
    np.testing.assert_allclose(first.ravel(), [0, 0.25, 0.5, 1])
    np.testing.assert_allclose(second.ravel(), [0, 0.25, 0.25, 1])
    assert np.isfinite(flat).all()


def test_labels_stand_above_columns_and_beside_lines(rng):
    figure = plots.images(
        rng.uniform(0, 1, (6, 16)), columns=3, labels=["a", "b", "c"], row_labels=["x", "y"]
    )
    ax = figure.axes[0]
    assert [t.get_text() for t in ax.get_xticklabels()] == ["a", "b", "c"]
    assert [t.get_text() for t in ax.get_yticklabels()] == ["x", "y"]
    figure.canvas.draw()
    tops = [t.get_window_extent().y0 for t in ax.get_xticklabels()]
    assert min(tops) >= ax.get_window_extent().y1


WRONG = {
    "pixels without a square": (
        lambda: plots.images(np.ones((2, 5))),
        "rows have 5 pixels; expected 2 x 2",
    ),
    "pixels of another shape": (
        lambda: plots.images(np.ones((2, 6)), shape=(2, 4)),
        "rows have 6 pixels; expected 2 x 4",
    ),
    "a single vector": (lambda: plots.images(np.ones(4)), "rows has shape (4,); expected 2"),
    "images as matrices": (
        lambda: plots.images(np.ones((2, 2, 2))),
        "rows has shape (2, 2, 2); expected 2",
    ),
    "nan": (lambda: plots.images([[np.nan]]), "rows is nan at index [0, 0]; expected finite"),
    "no columns": (
        lambda: plots.images(np.ones((2, 4)), columns=0),
        "columns is 0; expected an integer of at least 1",
    ),
    "mode below zero": (lambda: plots.mode(-1), "i is -1; expected an integer of at least 0"),
    "half a mode": (lambda: plots.mode(0.5), "i is 0.5; expected an integer"),
}


@pytest.mark.parametrize("case", WRONG)
def test_wrong_input_is_named_with_what_was_expected(case):
    call, message = WRONG[case]
    with pytest.raises(ValueError, match=re.escape(message)):
        call()
    assert plt.get_fignums() == []


UNCHECKED = {
    "no images": (lambda: plots.images(np.ones((0, 4))), "^rows|number of rows"),
    "too few labels": (lambda: plots.images(np.ones((2, 4)), labels=["a"]), "^labels"),
    "too few row labels": (
        lambda: plots.images(np.ones((2, 4)), columns=1, row_labels=["a"]),
        "^row_labels",
    ),
}


@pytest.mark.parametrize("case", UNCHECKED)
def test_unchecked_input_is_named_too(case):
    call, message = UNCHECKED[case]
    with pytest.raises(ValueError, match=message):
        call()


# ---------------------------------------------------------------- style


def test_modes_differ_in_colour_and_in_line_and_in_marker():
    n = len(plots.COLORS)
    lines, markers = (
        [plots.mode(i) for i in range(n)],
        [plots.mode(i, line=False) for i in range(n)],
    )
    assert len({str(m["color"]) for m in lines}) == n
    assert len({str(m["linestyle"]) for m in lines}) == n
    assert len({m["marker"] for m in markers}) == n


def test_a_mode_has_one_colour_as_line_and_as_marker_and_the_cycle_starts_anew():
    for i in range(20):
        assert plots.mode(i)["color"] == plots.mode(i, line=False)["color"]
        assert plots.mode(i) == plots.mode(i + len(plots.COLORS))


def test_every_mode_can_be_drawn():
    _, ax = plt.subplots()
    for i in range(len(plots.COLORS)):
        (line,) = ax.plot([0, 1], [i, i], **plots.mode(i))
        (markers,) = ax.plot([0, 1], [i, i], **plots.mode(i, line=False))
        assert line.get_marker() == "None"
        assert markers.get_linestyle() == "None"


def test_colours_stand_out_from_a_white_page():
    for colour in plots.COLORS:
        red, green, blue = matplotlib.colors.to_rgb(colour)
        assert 0.2126 * red + 0.7152 * green + 0.0722 * blue < 0.75, colour


def test_the_style_makes_pages_white_and_modes_follow_the_colours():
    plots.use_style()
    figure, ax = plt.subplots()
    assert figure.get_facecolor() == (1, 1, 1, 1)
    drawn = [ax.plot([0, 1])[0].get_color() for _ in plots.COLORS]
    assert drawn == list(plots.COLORS)


# ---------------------------------------------------------------- the interactive figure


class Page(HTMLParser):
    """Elements of a piece of HTML, with proof that they are well nested."""

    VOID = ("img", "input")

    def __init__(self, text):
        super().__init__()
        self.elements, self.open, self.texts = [], [], []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.texts.append(data)

    def all(self, tag):
        return [attrs for name, attrs in self.elements if name == tag]


HOSTILE = "<b>\"' & </figure>"


def frames(labels=("one", "two", "three"), **options):
    texts = {"name": "fig-x", "slider": "step", "alt": "A line.", "caption": "Text."} | options

    def draw(i):
        figure, ax = plt.subplots(figsize=(1, 1))
        ax.plot([0, i])
        return figure

    return plots.Frames(draw, labels, **texts)


@pytest.mark.parametrize("start", [0, 2])
def test_frames_are_one_picture_each_and_only_the_start_is_visible(start):
    pictures = Page(frames(start=start)._repr_html_()).all("img")
    assert len(pictures) == 3
    assert ["hidden" in p for p in pictures] == [i != start for i in range(3)]
    contents = [base64.b64decode(p["src"].removeprefix("data:image/png;base64,")) for p in pictures]
    assert all(content.startswith(b"\x89PNG") for content in contents)
    assert len(set(contents)) == 3


@pytest.mark.parametrize("start", [0, 2])
def test_the_slider_covers_the_frames_and_says_where_it_stands(start):
    page = Page(frames(start=start)._repr_html_())
    (slider,) = page.all("input")
    assert (slider["type"], slider["min"], slider["max"], slider["step"]) == (
        "range",
        "0",
        "2",
        "1",
    )
    assert slider["value"] == str(start)
    assert slider["aria-valuetext"] == ["one", "two", "three"][start]
    assert page.texts.count(["one", "two", "three"][start]) == 1  # the output element
    assert "step" in page.texts


def test_every_frame_has_alternative_text_that_names_the_frame():
    for label, picture in zip(
        ["one", "two", "three"], Page(frames()._repr_html_()).all("img"), strict=True
    ):
        assert picture["alt"] == f"A line. Frame: {label}."


@pytest.mark.parametrize("field", ["name", "slider", "alt", "caption", "labels"])
def test_texts_are_escaped(field):
    texts = {"labels": [HOSTILE, "two"]} if field == "labels" else {field: HOSTILE}
    page = Page(frames(**texts)._repr_html_())
    plain = Page(frames(**{"labels": ["a", "two"]} if field == "labels" else {})._repr_html_())
    assert [tag for tag, _ in page.elements] == [tag for tag, _ in plain.elements]
    values = [v for _, attrs in page.elements for v in attrs.values()] + page.texts
    assert any(HOSTILE in value for value in values if value)


def test_frames_load_nothing():
    page = Page(frames()._repr_html_())
    assert {tag for tag, _ in page.elements}.isdisjoint({"script", "link", "iframe", "style"})
    for _, attrs in page.elements:
        for name, value in attrs.items():
            if name in ("src", "href", "srcset", "data"):
                assert value.startswith("data:image/png;base64,")
            else:
                assert "//" not in (value or "")


def test_frames_close_their_figures_and_show_a_short_text():
    figure = frames()
    assert plt.get_fignums() == []
    assert repr(figure) == "<interactive figure fig-x: 3 frames>"


def test_labels_need_not_be_text():
    (slider,) = Page(frames([0.5, 1])._repr_html_()).all("input")
    assert json.loads(slider["data-labels"]) == ["0.5", "1"]


def test_two_sliders_show_one_picture_for_each_pair_of_positions():
    drawn = []

    def draw(i, j):
        drawn.append((i, j))
        return plt.figure(figsize=(1, 1))

    figure = plots.Frames(
        draw,
        (["a", "b"], ["x", "y", "z"]),
        name="fig-x",
        slider=("letter", "end"),
        alt="Nothing.",
        caption="Text.",
        start=(1, 2),
    )
    page = Page(figure._repr_html_())
    pictures, sliders = page.all("img"), page.all("input")
    assert drawn == [(0, 0), (0, 1), (0, 2), (1, 0), (1, 1), (1, 2)]
    assert [p["alt"] for p in pictures][2] == "Nothing. Frame: a, z."
    assert ["hidden" in p for p in pictures] == [True] * 5 + [False]
    assert [(s["max"], s["value"], s["aria-valuetext"]) for s in sliders] == [
        ("1", "1", "b"),
        ("2", "2", "z"),
    ]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"labels": []}, "labels is empty; expected one label per frame"),
        ({"start": 3}, "start is 3; expected an integer of at least 0 and at most 2"),
        ({"start": -1}, "start is -1; expected an integer"),
        ({"labels": (["a"], []), "slider": ("one", "two")}, "labels is empty"),
        ({"labels": (["a"],), "slider": ("one", "two")}, "labels is for 1 sliders; expected 2"),
        ({"labels": (["a"], ["b"]), "slider": ("one", "two"), "start": (0,)}, "start is for 1"),
    ],
)
def test_frames_refuse_what_they_cannot_show(options, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        frames(**options)
