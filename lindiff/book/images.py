"""Rows of pixels as a grid of images, never wider than a page of the book shows them."""

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
    shape: tuple[int, ...] | None = None,
    size: float = 0.75,
) -> Figure:
    """Show rows of pixels as a grid of images, grey or in colour.

    Parameters
    ----------
    rows : array_like, shape (n, d)
        One image per row.
    columns : int, optional
        Images per line, by default all n.
    labels, row_labels : sequence of str, optional
        Text above the first line, and to the left of each line.
    limits : (float, float), optional
        Values of black and white; by default each image uses its own range. Colours beyond them
        are cut off.
    shape : tuple of int, optional
        ``(h, w)`` of grey images, by default square, or ``(3, h, w)`` of images in red, green and
        blue, as the networks take them. One channel, ``(1, h, w)``, is grey.
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
    c, h, w = _sides(pixels.shape[1], shape)
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
    mosaic = np.full((c, lines * (h + gap) - gap, columns * (w + gap) - gap), np.nan)
    for k, row in enumerate(pixels):
        top, left = (k // columns) * (h + gap), (k % columns) * (w + gap)
        mosaic[:, top : top + h, left : left + w] = row.reshape(c, h, w)
    beside = max(map(_inches, row_labels or [""]))
    if beside > WIDTH / 2:
        raise ValueError(f"row_labels are {beside:.1f} inches wide; expected at most {WIDTH / 2}")
    width = min(_check.number("size", size, 0.0, open_low=True) * columns, WIDTH - beside)
    figure, ax = plt.subplots(
        figsize=(
            width + beside,
            width * mosaic.shape[1] / mosaic.shape[2] + (0.3 if labels is not None else 0),
        ),
        layout="compressed",  # constrained, and a second time for the fixed aspect
    )
    picture = mosaic[0] if c == 1 else _in_colour(mosaic, limits)
    ax.imshow(picture, vmin=limits[0], vmax=limits[1], interpolation="nearest")
    ax.grid(False)
    ax.spines[:].set_visible(False)
    ax.xaxis.tick_top()
    ax.set_xticks((w - 1) / 2 + np.arange(columns) * (w + gap), labels or [""] * columns)
    ax.set_yticks((h - 1) / 2 + np.arange(lines) * (h + gap), row_labels or [""] * lines)
    ax.tick_params(length=0, pad=3, labelsize=SMALLEST_TEXT)
    return figure


def _sides(pixels: int, shape: tuple[int, ...] | None) -> tuple[int, int, int]:
    """Channels, height and width of images that have so many numbers."""
    side = round(pixels**0.5)
    colour = round((pixels / 3) ** 0.5)
    given = (side, side) if shape is None else tuple(shape)
    if len(given) not in (2, 3) or (len(given) == 3 and given[0] not in (1, 3)):
        raise ValueError(f"shape is {shape}; expected (h, w), or (3, h, w) for colour")
    c, h, w = given if len(given) == 3 else (1, *given)
    if c * h * w != pixels:
        in_colour = shape is None and 3 * colour**2 == pixels
        hint = f"; for images in colour pass shape=(3, {colour}, {colour})" if in_colour else ""
        sides = " x ".join(map(str, given))
        raise ValueError(f"rows have {pixels} pixels; expected {sides}{hint}")
    return c, h, w


def _in_colour(mosaic: np.ndarray, limits: tuple[float, float]) -> np.ndarray:
    """Red, green, blue and opacity (h, w, 4) of a picture (3, h, w); nothing where it is nan."""
    low, high = limits
    values = np.clip((mosaic - low) / (high - low), 0.0, 1.0)
    opacity = np.isfinite(mosaic[:1]).astype(float)
    return np.moveaxis(np.concatenate([np.nan_to_num(values), opacity]), 0, -1)


def _inches(text: str) -> float:
    """Width of a label with its distance from the images; formulas as they are drawn."""
    if not text.strip():
        return 0.0
    return float(TextPath((0, 0), text, size=SMALLEST_TEXT).get_extents().width + 9) / 72
