"""Rows of pixels as a grid of grey images, never wider than a page of the book shows them."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from lindiff import _check
from lindiff.book.style import SMALLEST_TEXT, WIDTH

plt = _check.optional("matplotlib.pyplot", "book")

from matplotlib.figure import Figure  # noqa: E402
from matplotlib.textpath import TextPath  # noqa: E402


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
        Width of an image in inches; less where the figure would be wider than `WIDTH`.

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
    beside = max(map(_inches, row_labels or [""]))
    if beside > WIDTH / 2:
        raise ValueError(f"row_labels are {beside:.1f} inches wide; expected at most {WIDTH / 2}")
    width = min(_check.number("size", size, 0.0, open_low=True) * columns, WIDTH - beside)
    figure, ax = plt.subplots(
        figsize=(
            width + beside,
            width * mosaic.shape[0] / mosaic.shape[1] + (0.3 if labels is not None else 0),
        ),
        layout="compressed",  # constrained, and a second time for the fixed aspect
    )
    ax.imshow(mosaic, vmin=limits[0], vmax=limits[1], interpolation="nearest")
    ax.grid(False)
    ax.spines[:].set_visible(False)
    ax.xaxis.tick_top()
    ax.set_xticks((w - 1) / 2 + np.arange(columns) * (w + gap), labels or [""] * columns)
    ax.set_yticks((h - 1) / 2 + np.arange(lines) * (h + gap), row_labels or [""] * lines)
    ax.tick_params(length=0, pad=3, labelsize=SMALLEST_TEXT)
    return figure


def _inches(text: str) -> float:
    """Width of a label with its distance from the images; formulas as they are drawn."""
    if not text.strip():
        return 0.0
    return float(TextPath((0, 0), text, size=SMALLEST_TEXT).get_extents().width + 9) / 72
