"""Figures of the book: one style, one colour per mode, rows as images, frames with a slider."""

import base64
import html
import io
import json
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from lindiff import _check

plt = _check.optional("matplotlib.pyplot", "book")

from matplotlib.figure import Figure  # noqa: E402

#: Colours that remain distinct for colour-blind readers [Okabe and Ito 2008], one per mode.
COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
_MARKERS = "osD^vP*"
_LINES = ("-", "--", "-.", ":", (0, (5, 1)), (0, (3, 1, 1, 1)), (0, (1, 1)))


def use_style() -> None:
    """Set matplotlib's defaults for the book: large enough for a phone, white in dark mode."""
    plt.rcParams.update(
        {
            "figure.figsize": (6.0, 3.6),
            "figure.dpi": 120,
            "figure.facecolor": "white",
            "savefig.facecolor": "white",
            "figure.constrained_layout.use": True,
            "font.size": 11.5,
            "axes.spines.top": False,
            "axes.spines.right": False,
            "axes.grid": True,
            "grid.alpha": 0.25,
            "legend.frameon": False,
            "legend.fontsize": 10.5,
            "lines.linewidth": 1.8,
            "lines.markersize": 5,
            "image.cmap": "gray",
            "axes.prop_cycle": plt.cycler(color=COLORS),
        }
    )


def mode(i: int, *, line: bool = True) -> dict[str, Any]:
    """Keywords that draw mode `i` (from 0) alike in every figure: as a line, or as markers.

    Examples
    --------
    >>> mode(0)
    {'color': '#0072B2', 'linestyle': '-'}
    >>> mode(1, line=False)
    {'color': '#D55E00', 'linestyle': 'none', 'marker': 's'}
    """
    i = _check.integer("i", i, 0)
    color = COLORS[i % len(COLORS)]
    if line:
        return {"color": color, "linestyle": _LINES[i % len(_LINES)]}
    return {"color": color, "linestyle": "none", "marker": _MARKERS[i % len(_MARKERS)]}


def images(
    rows: npt.ArrayLike,
    *,
    columns: int | None = None,
    labels: Sequence[str] | None = None,
    row_labels: Sequence[str] | None = None,
    limits: tuple[float, float] | None = None,
    shape: tuple[int, int] | None = None,
    size: float = 0.75,
) -> Figure:
    """Show rows of pixels as a grid of grey images.

    Parameters
    ----------
    rows : array_like, shape (n, d)
        One image per row.
    columns : int, optional
        Images per line, by default all n.
    labels, row_labels : sequence of str, optional
        Text above the first line, and to the left of each line.
    limits : (float, float), optional
        Values of black and white; by default each image uses its own range.
    shape : (int, int), optional
        Height and width, by default square.
    size : float
        Width of an image in inches.

    Returns
    -------
    matplotlib.figure.Figure

    Examples
    --------
    >>> figure = images(np.eye(4), labels=["a", "b", "c", "d"])
    >>> [t.get_text() for t in figure.axes[0].get_xticklabels()]
    ['a', 'b', 'c', 'd']
    >>> plt.close(figure)
    """
    pixels = _check.array("rows", rows, 2)
    n = _check.integer("number of rows", len(pixels), 1)
    side = round(pixels.shape[1] ** 0.5)
    h, w = (side, side) if shape is None else shape
    if h * w != pixels.shape[1]:
        raise ValueError(f"rows have {pixels.shape[1]} pixels; expected {h} x {w}")
    columns = n if columns is None else _check.integer("columns", columns, 1)
    lines = -(-n // columns)
    for name, texts, count in (("labels", labels, columns), ("row_labels", row_labels, lines)):
        if texts is not None and len(texts) != count:
            raise ValueError(f"{name} has {len(texts)} entries; expected {count}")
    if limits is None:
        low, high = pixels.min(axis=1, keepdims=True), pixels.max(axis=1, keepdims=True)
        pixels, limits = (pixels - low) / np.where(high > low, high - low, 1.0), (0.0, 1.0)
    # One picture for the whole grid: a hundred axes take seconds to draw.
    gap = max(1, round(w / 14))
    mosaic = np.full((lines * (h + gap) - gap, columns * (w + gap) - gap), np.nan)
    for k, row in enumerate(pixels):
        top, left = (k // columns) * (h + gap), (k % columns) * (w + gap)
        mosaic[top : top + h, left : left + w] = row.reshape(h, w)
    width = size * columns
    figure, ax = plt.subplots(
        figsize=(
            width + 0.12 * max(map(len, row_labels or [""])),
            width * mosaic.shape[0] / mosaic.shape[1] + (0.3 if labels is not None else 0),
        ),
        layout="constrained",
    )
    ax.imshow(mosaic, vmin=limits[0], vmax=limits[1], interpolation="nearest")
    ax.grid(False)
    ax.spines[:].set_visible(False)
    ax.xaxis.tick_top()
    ax.set_xticks((w - 1) / 2 + np.arange(columns) * (w + gap), labels or [""] * columns)
    ax.set_yticks((h - 1) / 2 + np.arange(lines) * (h + gap), row_labels or [""] * lines)
    ax.tick_params(length=0, pad=3)
    return figure


class Frames:
    """An interactive figure: precomputed pictures and one slider or more, in plain HTML.

    Nothing is loaded and no library is needed, so it works in JupyterLab, in the published book
    and from a file; the arrow keys move a slider.

    Parameters
    ----------
    draw : callable
        ``draw(i)`` returns the matplotlib figure of frame i; with two sliders ``draw(i, j)``.
    labels : sequence of str, or one such sequence per slider
        What the slider says at each of its positions, for example ``"sigma = 0.5"``.
    name : str
        Identifier of the figure in the page.
    slider : str, or tuple of str
        What each slider changes, shown beside it.
    alt, caption : str
        What the frames show, for readers who do not see them, and the caption.
    start : int, or tuple of int
        Frame shown first; by default the first position of every slider.

    Examples
    --------
    >>> Frames(lambda i: plt.figure(figsize=(1, 1)), ["a", "b"], name="fig-x", slider="letter",
    ...        alt="Two empty pictures, one for each letter.", caption="Nothing.")
    <interactive figure fig-x: 2 frames>
    >>> Frames(lambda i, j: plt.figure(figsize=(1, 1)), (["a", "b"], ["1", "2", "3"]),
    ...        name="fig-y", slider=("letter", "digit"), start=(0, 2),
    ...        alt="Six empty pictures, one for each letter and digit.", caption="Nothing.")
    <interactive figure fig-y: 6 frames>
    """

    def __init__(
        self,
        draw: Callable[..., Figure],
        labels: Sequence[Any],
        *,
        name: str,
        slider: str | Sequence[str],
        alt: str,
        caption: str,
        start: int | Sequence[int] | None = None,
    ) -> None:
        self.name, self.alt, self.caption = name, alt, caption
        if isinstance(slider, str):
            labels, slider = (labels,), (slider,)
        self.sliders = tuple(slider)
        self.labels = [[str(label) for label in axis] for axis in labels]
        first = (0,) * len(self.sliders) if start is None else start
        self.start: tuple[int, ...] = tuple(np.atleast_1d(first).tolist())
        self._require_positions()
        self.pictures: dict[tuple[int, ...], str] = {}
        for position in np.ndindex(*map(len, self.labels)):
            figure, buffer = draw(*position), io.BytesIO()
            figure.savefig(buffer, format="png", dpi=110)
            plt.close(figure)
            self.pictures[position] = base64.b64encode(buffer.getvalue()).decode()

    def _require_positions(self) -> None:
        for name, given in (("labels", self.labels), ("start", self.start)):
            if len(given) != len(self.sliders):
                raise ValueError(
                    f"{name} is for {len(given)} sliders; expected {len(self.sliders)}, one for "
                    f"each of {self.sliders}"
                )
        for axis, start in zip(self.labels, self.start, strict=True):
            if not axis:
                raise ValueError("labels is empty; expected one label per frame")
            _check.integer("start", start, 0, len(axis) - 1)

    def __repr__(self) -> str:
        return f"<interactive figure {self.name}: {len(self.pictures)} frames>"

    def _repr_html_(self) -> str:
        name, alt, caption = (html.escape(text) for text in (self.name, self.alt, self.caption))
        pictures = "".join(
            f'<img src="data:image/png;base64,{picture}" alt="{alt} Frame: {self._label(at)}."'
            f"{'' if at == self.start else ' hidden'}>"
            for at, picture in self.pictures.items()
        )
        sliders = "".join(map(self._slider, self.sliders, self.labels, self.start))
        return (
            f'<figure class="frames" id="{name}"><div class="frames-stage">{pictures}</div>'
            f"{sliders}<figcaption>{caption}</figcaption></figure>"
        )

    def _label(self, position: Sequence[int]) -> str:
        return html.escape(
            ", ".join(axis[i] for axis, i in zip(self.labels, position, strict=True))
        )

    @staticmethod
    def _slider(text: str, labels: list[str], start: int) -> str:
        # The picture's number counts the positions of all sliders, the last one fastest.
        show = (
            "const f=this.closest('figure'),"
            "k=[...f.querySelectorAll('input')].reduce((k,s)=>k*(+s.max+1)+ +s.value,0),"
            "t=JSON.parse(this.dataset.labels)[this.value];"
            "f.querySelectorAll('img').forEach((e,i)=>e.hidden=i!=k);"
            "this.parentNode.nextSibling.value=t;this.setAttribute('aria-valuetext',t)"
        )
        here = html.escape(labels[start])
        return (
            f'<label><span>{html.escape(text)}</span><input type="range" min="0" step="1" '
            f'max="{len(labels) - 1}" value="{start}" aria-valuetext="{here}" '
            f'data-labels="{html.escape(json.dumps(labels))}" oninput="{show}"></label>'
            f"<output>{here}</output>"
        )
