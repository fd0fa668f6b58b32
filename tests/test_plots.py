"""Figures: curves, the grid of images, the style of modes, and the interactive figure."""

import base64
import io
import json
import re
import subprocess
import sys
from html.parser import HTMLParser

import IPython
import matplotlib
import numpy as np
import pytest
from IPython.core.pylabtools import print_figure
from matplotlib_inline.config import InlineBackend
from PIL import Image
from traitlets.config import Configurable

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


def test_images_in_colour_appear_as_they_are_given_and_their_gaps_are_clear(rng):
    rows = rng.uniform(0, 1, (3, 3 * 2 * 4))
    figure = plots.images(rows, columns=2, limits=(-1, 3), shape=(3, 2, 4))
    picture = np.asarray(figure.axes[0].images[0].get_array())
    assert picture.shape == (5, 9, 4)
    places = [np.s_[:2, :4], np.s_[:2, 5:], np.s_[3:, :4]]
    for row, place in zip(rows, places, strict=True):
        expected = (row.reshape(3, 2, 4) + 1) / 4
        np.testing.assert_allclose(picture[place][..., :3], expected.transpose(1, 2, 0))
        np.testing.assert_array_equal(picture[place][..., 3], 1)
    assert (picture[..., 3] == 0).sum() == 5 * 9 - 3 * 8
    plots.images(rows, shape=(3, 2, 4)).canvas.draw()  # each in its own range
    grey = plots.images(rows, limits=(0, 1), shape=(1, 4, 6)).axes[0].images[0].get_array()
    assert grey.shape == (4, 20)


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


@pytest.mark.parametrize("size", [0.1, 0.75, 5.0])
@pytest.mark.parametrize("columns", [1, 4, 20])
def test_a_grid_is_never_wider_than_a_page_and_its_labels_are_readable(size, columns):
    labels = [rf"$\sigma={k}$" for k in range(2)]
    figure = plots.images(
        np.ones((2 * columns, 4)), columns=columns, labels=["a"] * columns, row_labels=labels,
        size=size,
    )  # fmt: skip
    assert figure.get_figwidth() <= plots.WIDTH + 1e-9
    assert min(sizes_of_texts(figure)) >= plots.SMALLEST_TEXT
    figure.canvas.draw()
    ends = [t.get_window_extent() for t in figure.axes[0].get_yticklabels()]
    assert min(box.x0 for box in ends) >= 0
    if size == 0.75 and columns == 4:  # there is room: the images have the size asked for
        assert figure.axes[0].get_window_extent().width / figure.dpi == pytest.approx(3, rel=0.05)


WRONG = {
    "pixels without a square": (
        lambda: plots.images(np.ones((2, 5))),
        "rows have 5 pixels; expected 2 x 2",
    ),
    "pixels of another shape": (
        lambda: plots.images(np.ones((2, 6)), shape=(2, 4)),
        "rows have 6 pixels; expected 2 x 4",
    ),
    "colours as grey": (
        lambda: plots.images(np.ones((2, 48))),
        "rows have 48 pixels; expected 7 x 7; for images in colour pass shape=(3, 4, 4)",
    ),
    "colours of another shape": (
        lambda: plots.images(np.ones((2, 48)), shape=(3, 2, 4)),
        "rows have 48 pixels; expected 3 x 2 x 4",
    ),
    "two channels": (
        lambda: plots.images(np.ones((2, 32)), shape=(2, 4, 4)),
        "shape is (2, 4, 4); expected (h, w), or (3, h, w) for colour",
    ),
    "a side alone": (
        lambda: plots.images(np.ones((2, 16)), shape=(4,)),
        "shape is (4,); expected (h, w), or (3",
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
    "no size": (
        lambda: plots.images(np.ones((2, 4)), size=0),
        "size is 0; expected a finite number > 0",
    ),
    "long row labels": (
        lambda: plots.images(np.ones((1, 4)), row_labels=["long " * 10]),
        "row_labels are 3.7 inches wide; expected at most 2.8",
    ),
    "no panels": (lambda: plots.panels(0), "rows is 0; expected an integer of at least 1"),
    "no height": (lambda: plots.panels(height=0), "height is 0; expected a finite number > 0"),
    "sharing": (
        lambda: plots.panels(2, share="all"),
        "share is 'all'; expected one of (None, 'x', 'y', 'both')",
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


# ---------------------------------------------------------------- curves

GRID = [1.0, 2.0, 4.0]
SAMPLES = np.array([[1.0, 2.0, 3.0], [3.0, 2.0, 9.0], [5.0, 2.0, 0.0], [7.0, 2.0, 0.0]])
WRONG_ON_AXES = {
    "no axes": (lambda ax: plots.theory(None, GRID, GRID), "ax is None; expected a Axes"),
    "lengths": (lambda ax: plots.theory(ax, GRID, [1, 2]), "y has shape (2,); expected (3,)"),
    "points": (lambda ax: plots.points(ax, [GRID], GRID), "x has shape (1, 3); expected 1"),
    "nan": (
        lambda ax: plots.runs(ax, GRID, [[1, 2, 3], [1, np.nan, 3]]),
        "samples is nan at index [1, 1]; expected finite values",
    ),
    "one run": (
        lambda ax: plots.runs(ax, GRID, [GRID]),
        "number of runs is 1; expected an integer of at least 2",
    ),
    "no run": (
        lambda ax: plots.runs(ax, GRID, np.ones((0, 3)), error=None),
        "number of runs is 0; expected an integer of at least 1",
    ),
    "transposed": (
        lambda ax: plots.runs(ax, GRID, SAMPLES.T),
        "samples has shape (3, 4); expected (3, 3)",
    ),
    "kind of error": (
        lambda ax: plots.runs(ax, GRID, SAMPLES, error="var"),
        "error is 'var'; expected one of ('se', 'sd', None)",
    ),
    "band of one": (lambda ax: plots.band(ax, GRID, [GRID]), "number of runs is 1"),
    "whole level": (
        lambda ax: plots.band(ax, GRID, SAMPLES, level=1),
        "level is 1.0; expected a share below 1",
    ),
    "no level": (lambda ax: plots.band(ax, GRID, SAMPLES, level=0), "level is 0; expected"),
    "threshold nowhere": (lambda ax: plots.threshold(ax, np.nan, "t"), "at is nan; expected"),
    "threshold without text": (lambda ax: plots.threshold(ax, 1, None), "text is None; expected"),
    "third axis": (
        lambda ax: plots.threshold(ax, 1, "t", axis="z"),
        "axis is 'z'; expected one of ('x', 'y')",
    ),
    "axis of ticks": (lambda ax: plots.log_ticks(ax, "both", [1]), "axis is 'both'; expected"),
    "tick at zero": (
        lambda ax: plots.noise_axis(ax, ticks=[1, 0]),
        "ticks contains 0.0; expected numbers > 0",
    ),
}


@pytest.mark.parametrize("case", WRONG_ON_AXES)
def test_what_cannot_be_drawn_is_named_and_nothing_is_drawn(case):
    call, message = WRONG_ON_AXES[case]
    _, ax = plt.subplots()
    with pytest.raises(ValueError, match=re.escape(message)):
        call(ax)
    assert not ax.lines and not ax.collections and not ax.texts
    assert ax.get_xscale() == ax.get_yscale() == "linear"


@pytest.mark.parametrize(
    ("arguments", "shape", "height"),
    [((), None, 3.0), ((2,), (2,), 6.0), ((1, 2), (2,), 3.0), ((3, 2), (3, 2), 9.0)],
)
def test_every_figure_has_one_width_and_rows_of_the_given_height(arguments, shape, height):
    figure, axes = plots.panels(*arguments, height=3.0)
    assert figure.get_size_inches().tolist() == [plots.WIDTH, height]
    assert getattr(axes, "shape", None) == shape


@pytest.mark.parametrize("share", [None, "x", "y", "both"])
def test_panels_share_the_axes_asked_for(share):
    _, (first, second) = plots.panels(2, share=share)
    first.set(xlim=(3, 4), ylim=(5, 6))
    assert (second.get_xlim() == (3, 4)) == (share in ("x", "both"))
    assert (second.get_ylim() == (5, 6)) == (share in ("y", "both"))


@pytest.mark.parametrize("i", [0, 3])
def test_theory_is_a_line_and_a_measurement_a_marker_of_the_mode(i):
    _, ax = plots.panels()
    line, marks = plots.theory(ax, GRID, GRID, i, "a"), plots.points(ax, GRID, GRID, i, "b")
    (bars, _, _) = plots.runs(ax, GRID, SAMPLES, i, "c").lines
    for drawn, style in (
        (line, plots.mode(i)),
        (marks, plots.mode(i, line=False)),
        (bars, plots.mode(i, line=False)),
    ):
        assert drawn.get_color() == style["color"]
        assert drawn.get_marker() == style.get("marker", "None")
        assert drawn.get_linestyle() in (style["linestyle"], "None")
    assert line.get_linestyle() == plots.mode(i)["linestyle"]
    assert [t.get_text() for t in ax.legend().get_texts()] == ["a", "b", "c"]
    assert marks.get_zorder() > line.get_zorder()


def test_what_matplotlib_takes_has_precedence_over_the_mode():
    _, ax = plots.panels()
    assert plots.theory(ax, GRID, GRID, linestyle=":").get_linestyle() == ":"
    assert plots.points(ax, GRID, GRID, markersize=2).get_markersize() == 2
    assert plots.runs(ax, GRID, SAMPLES, color="k").lines[0].get_color() == "k"


@pytest.mark.parametrize(
    ("error", "half"), [("se", (5 / 3) ** 0.5), ("sd", (20 / 3) ** 0.5), (None, None)]
)
def test_a_marker_is_the_mean_of_the_runs_and_its_bar_the_error(error, half):
    _, ax = plots.panels()  # the first column is 1, 3, 5, 7: variance 20/3 with divisor 3
    marks, _, bars = plots.runs(ax, GRID, SAMPLES, error=error).lines
    np.testing.assert_allclose(marks.get_xydata(), [[1, 4], [2, 2], [4, 3]])
    if half is None:
        assert len(bars) == 0
    else:
        low, high = bars[0].get_segments()[0][:, 1]
        np.testing.assert_allclose([low, high], [4 - half, 4 + half])


def test_a_band_leaves_out_the_same_share_above_and_below():
    _, ax = plots.panels()
    samples = np.random.default_rng(0).permutation(np.arange(101.0))[:, None] * [1, 10]
    drawn = plots.band(ax, [0, 1], samples, 2, level=0.5, label="half")
    corners = {tuple(v) for v in drawn.get_paths()[0].vertices.round(9).tolist()}
    assert corners == {(0, 25), (0, 75), (1, 250), (1, 750)}
    assert matplotlib.colors.to_hex(drawn.get_facecolor()[0]).upper() == plots.COLORS[2]
    assert drawn.get_label() == "half"


@pytest.mark.parametrize("axis", ["x", "y"])
@pytest.mark.parametrize("scale", ["linear", "log"])
@pytest.mark.parametrize("inverted", [False, True])
@pytest.mark.parametrize("at", [0.011, 0.2, 0.5, 0.9, 0.989])
def test_the_name_of_a_threshold_stays_beside_its_line_and_inside(axis, scale, inverted, at):
    figure, ax = plots.panels()
    name = plots.threshold(ax, at, "the threshold", axis)
    ax.set(xscale=scale, yscale=scale)  # what comes after the threshold counts too
    limits = (1, 0.01) if inverted else (0.01, 1)
    ax.set(xlim=limits, ylim=limits)
    figure.canvas.draw()
    text, frame = name.get_window_extent(), ax.bbox
    assert frame.x0 <= text.x0 and text.x1 <= frame.x1
    assert frame.y0 <= text.y0 and text.y1 <= frame.y1
    place = ax.transData.transform((at, at))["xy".index(axis)]
    low, high = (text.x0, text.x1) if axis == "x" else (text.y0, text.y1)
    assert place < low < place + 12 or place - 12 < high < place
    (line,) = ax.lines
    assert set(line.get_xdata() if axis == "x" else line.get_ydata()) == {at}


@pytest.mark.parametrize("before", [False, True])
def test_high_noise_is_at_the_left_however_often_it_is_asked_for(before):
    _, ax = plots.panels()
    for step in (before, not before, False):
        if step:
            plots.noise_axis(ax)
        else:
            plots.theory(ax, [0.02, 50], [0, 1])
    plots.noise_axis(ax)
    plots.noise_axis(ax)
    left, right = ax.get_xlim()
    assert left > 50 > 0.02 > right > 0
    assert ax.get_xscale() == "log"
    assert ax.get_xlabel() == r"noise $\sigma$"


def shown(ax, axis="x"):
    """Texts of the ticks inside the limits of an axis."""
    ax.figure.canvas.draw()
    side = getattr(ax, f"{axis}axis")
    low, high = sorted(side.get_view_interval())
    ticks = [*side.get_major_ticks(), *side.get_minor_ticks()]
    return [
        t.label1.get_text() for t in ticks if low <= t.get_loc() <= high and t.label1.get_text()
    ]


@pytest.mark.parametrize(
    ("ends", "texts"),
    [
        ((0.09, 11), ["0.1", "1", "10"]),
        ((0.4, 11), ["0.5", "1", "2", "5", "10"]),
        ((1e-7, 1e-5), ["1e−7", "1e−6", "1e−5"]),
        ((1e4, 1e6), ["10000", "100000", "1e6"]),
    ],
)
def test_ticks_are_plain_numbers_and_never_fewer_than_three(ends, texts):
    _, ax = plots.panels()
    plots.log_ticks(ax, "x")
    ax.set_xlim(0.99 * ends[0], 1.01 * ends[1])
    assert shown(ax) == texts


def test_given_ticks_are_the_ones_shown():
    _, ax = plots.panels()
    plots.theory(ax, [0.1, 100], [1, 1000])
    plots.noise_axis(ax, "noise", [0.3, 30])
    plots.log_ticks(ax, "y", [1, 40, 1000])
    assert shown(ax) == ["0.3", "30"]
    assert shown(ax, "y") == ["1", "40", "1000"]


# ---------------------------------------------------------------- style


def sizes_of_texts(figure):
    """Sizes in points of the texts that a figure shows."""
    figure.canvas.draw()
    texts = [t for t in figure.findobj(matplotlib.text.Text) if t.get_text() and t.get_visible()]
    assert texts
    return [t.get_fontsize() for t in texts]


def test_the_smallest_text_of_a_figure_is_nine_pixels_high_on_a_phone():
    assert plots.WIDTH <= 358 / 9 * plots.SMALLEST_TEXT / 72
    plots.use_style()
    figure, axes = plots.panels(2, share="x")
    for ax in axes:
        ax.set(title="title", ylabel="y")
        plots.theory(ax, GRID, GRID, label="a")
        plots.threshold(ax, 2, "t")
        ax.legend(title="legend")
    plots.noise_axis(ax)
    assert min(sizes_of_texts(figure)) == plots.SMALLEST_TEXT


def test_logarithmic_axes_of_matplotlib_have_no_exponents_either():
    plots.use_style()
    _, ax = plots.panels()
    ax.loglog([1e-3, 1e4], [1, 10])
    assert shown(ax) and not any("^" in text for text in shown(ax))


class Shell(Configurable):
    """As much of a notebook's shell as the style looks at."""

    kernel = True


@pytest.fixture
def _notebook(monkeypatch):
    InlineBackend.clear_instance()
    shell = Shell()
    monkeypatch.setattr(IPython, "get_ipython", lambda: shell)
    yield
    InlineBackend.clear_instance()


@pytest.mark.usefixtures("_notebook")
@pytest.mark.filterwarnings("ignore:InlineBackend:DeprecationWarning")  # how it is written
def test_a_figure_in_a_notebook_has_the_pixels_and_inches_it_says():
    plots.use_style()
    figure, ax = plots.panels(height=3.0)
    ax.set(xlabel="x", ylabel="y")
    figure.text(0.5, 1.2, "outside, for which the default would extend the picture")
    shown = Image.open(
        io.BytesIO(print_figure(figure, **InlineBackend.instance().print_figure_kwargs))
    )
    assert shown.info["dpi"] == pytest.approx((200, 200), rel=1e-4)
    inches = np.array(shown.size) / shown.info["dpi"]
    np.testing.assert_allclose(inches, [plots.WIDTH, 3.0], rtol=1e-4)


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


def test_frames_say_their_resolution_and_keep_their_size():
    for picture in Page(frames()._repr_html_()).all("img"):
        content = base64.b64decode(picture["src"].partition(",")[2])
        image = Image.open(io.BytesIO(content))
        assert image.size == (160, 160)  # figures of one inch
        assert image.info["dpi"] == pytest.approx((160, 160), rel=1e-3)


def test_frames_keep_their_colours():
    def draw(i):
        figure = plt.figure(figsize=(1, 1), facecolor=plots.COLORS[i])
        return figure

    labels = range(len(plots.COLORS))
    figure = plots.Frames(draw, labels, name="n", slider="s", alt="a", caption="c")
    for i, picture in enumerate(figure.pictures.values()):
        image = Image.open(io.BytesIO(base64.b64decode(picture))).convert("RGB")
        assert matplotlib.colors.to_hex(np.array(image)[80, 80] / 255).upper() == plots.COLORS[i]


def test_frames_tell_the_labels_of_the_axes_they_show():
    def draw(i):
        figure, (above, below) = plots.panels(2)
        above.set_ylabel(f"y of {i}")
        plots.noise_axis(below, "noise")
        return figure

    figure = plots.Frames(draw, "abc", name="n", slider="s", alt="a", caption="c", start=1)
    assert figure.axis_labels == [("", "y of 1"), ("noise", "")]


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
