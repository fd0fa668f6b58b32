"""Figures of the book: one width, one style, one colour per mode; rows as images.

The names are those of what a figure shows: `theory` is a line, `runs` are markers with error bars,
a `band` is shaded, a `threshold` is a thin line with its name.
"""

from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from lindiff import _check
from lindiff.book.frames import Frames
from lindiff.book.images import images
from lindiff.book.style import COLORS, SMALLEST_TEXT, WIDTH, mode, use_style

plt = _check.optional("matplotlib.pyplot", "book")

from matplotlib.axes import Axes  # noqa: E402
from matplotlib.backend_bases import RendererBase  # noqa: E402
from matplotlib.collections import PolyCollection  # noqa: E402
from matplotlib.container import ErrorbarContainer  # noqa: E402
from matplotlib.figure import Figure  # noqa: E402
from matplotlib.lines import Line2D  # noqa: E402
from matplotlib.text import Annotation  # noqa: E402
from matplotlib.ticker import (  # noqa: E402
    FixedLocator,
    FuncFormatter,
    LogLocator,
    NullFormatter,
)

__all__ = [
    "COLORS",
    "SMALLEST_TEXT",
    "WIDTH",
    "Frames",
    "band",
    "images",
    "log_ticks",
    "mode",
    "noise_axis",
    "panels",
    "points",
    "runs",
    "theory",
    "threshold",
    "use_style",
]


def panels(
    rows: int = 1,
    columns: int = 1,
    *,
    height: float = 3.4,
    share: Literal["x", "y", "both"] | None = None,
) -> tuple[Figure, Any]:
    """A figure of the book's width with one panel or more.

    Parameters
    ----------
    rows, columns : int
        Panels below each other and beside each other. Two beside each other are readable on a
        phone only if they are small squares with few labels.
    height : float
        Height of each row in inches.
    share : {"x", "y", "both"}, optional
        Axes that the panels have in common; their numbers stand at the outer panels only.

    Returns
    -------
    matplotlib.figure.Figure
    matplotlib.axes.Axes, or array of them
        One object for one panel, else an array, shape (rows,), (columns,) or (rows, columns).

    Examples
    --------
    >>> fig, axes = panels(2, height=2.5, share="x")
    >>> fig.get_size_inches().tolist(), axes.shape
    ([5.6, 5.0], (2,))
    >>> plt.close(fig)
    """
    rows, columns = _check.integer("rows", rows, 1), _check.integer("columns", columns, 1)
    height = _check.number("height", height, 0.0, open_low=True)
    _one_of("share", share, (None, "x", "y", "both"))
    fig, axes = plt.subplots(
        rows,
        columns,
        figsize=(WIDTH, rows * height),
        sharex=share in ("x", "both"),
        sharey=share in ("y", "both"),
        layout="constrained",
    )
    return fig, axes


def theory(
    ax: Axes,
    x: npt.ArrayLike,
    y: npt.ArrayLike,
    i: int = 0,
    label: str | None = None,
    **kw: Any,
) -> Line2D:
    """Draw what theory says, as the line of mode `i`.

    Parameters
    ----------
    ax : matplotlib.axes.Axes
    x, y : array_like, shape (n,)
    i : int
        Mode, which gives the colour and the style of the line.
    label : str, optional
        Name in the legend.
    **kw
        What `ax.plot` takes.

    Returns
    -------
    matplotlib.lines.Line2D

    Examples
    --------
    >>> fig, ax = panels()
    >>> theory(ax, [0, 1], [1, 2], 1, "theory").get_linestyle()
    '--'
    >>> plt.close(fig)
    """
    x, y = _curve(ax, x, y)
    return ax.plot(x, y, label=label, **{**mode(i), **kw})[0]


def points(
    ax: Axes,
    x: npt.ArrayLike,
    y: npt.ArrayLike,
    i: int = 0,
    label: str | None = None,
    **kw: Any,
) -> Line2D:
    """Draw single measurements as the markers of mode `i`; the parameters are those of `theory`.

    Examples
    --------
    >>> fig, ax = panels()
    >>> points(ax, [0, 1], [1, 2], 1).get_marker()
    's'
    >>> plt.close(fig)
    """
    x, y = _curve(ax, x, y)
    return ax.plot(x, y, label=label, **{"zorder": 3, **mode(i, line=False), **kw})[0]


def runs(
    ax: Axes,
    x: npt.ArrayLike,
    samples: npt.ArrayLike,
    i: int = 0,
    label: str | None = None,
    error: Literal["se", "sd"] | None = "se",
    **kw: Any,
) -> ErrorbarContainer:
    """Draw the mean over repeated runs as markers of mode `i`, with error bars.

    Parameters
    ----------
    ax : matplotlib.axes.Axes
    x : array_like, shape (n,)
    samples : array_like, shape (runs, n)
        What each run measured at each x.
    i : int
        Mode, which gives the colour and the marker.
    label : str, optional
        Name in the legend.
    error : {"se", "sd"}, optional
        Length of the bar on either side: one standard error of the mean, one standard deviation
        of the runs (each with the divisor runs - 1), or no bar if None.
    **kw
        What `ax.errorbar` takes.

    Returns
    -------
    matplotlib.container.ErrorbarContainer

    Examples
    --------
    >>> fig, ax = panels()
    >>> drawn = runs(ax, [0, 1], [[1, 4], [3, 4]])
    >>> drawn.lines[0].get_ydata().tolist()
    [2.0, 4.0]
    >>> [bar[:, 1].tolist() for bar in drawn.lines[2][0].get_segments()]  # mean -+ sqrt(2 / 2)
    [[1.0, 3.0], [4.0, 4.0]]
    >>> plt.close(fig)
    """
    _one_of("error", error, ("se", "sd", None))
    x, samples = _repeated(ax, x, samples, 1 if error is None else 2)
    bars = None
    if error is not None:
        bars = samples.std(axis=0, ddof=1) / (len(samples) ** 0.5 if error == "se" else 1)
    style = {"zorder": 3, "capsize": 2.5, "elinewidth": 1.2, **mode(i, line=False), **kw}
    return ax.errorbar(x, samples.mean(axis=0), bars, label=label, **style)


def band(
    ax: Axes,
    x: npt.ArrayLike,
    samples: npt.ArrayLike,
    i: int = 0,
    level: float = 0.8,
    label: str | None = None,
) -> PolyCollection:
    """Shade where the central share `level` of the runs lies at each x, in the colour of mode `i`.

    Parameters
    ----------
    ax : matplotlib.axes.Axes
    x : array_like, shape (n,)
    samples : array_like, shape (runs, n)
        What each run measured at each x.
    i : int
        Mode, which gives the colour.
    level : float
        Share of the runs inside, between 0 and 1: 0.8 leaves out a tenth above and below.
    label : str, optional
        Name in the legend.

    Returns
    -------
    matplotlib.collections.PolyCollection

    Examples
    --------
    >>> fig, ax = panels()
    >>> samples = np.arange(11)[:, None] * [1, 2]
    >>> drawn = band(ax, [0, 1], samples, level=0.8)
    >>> [round(y, 1) for y in np.unique(drawn.get_paths()[0].vertices[:, 1]).tolist()]
    [1.0, 2.0, 9.0, 18.0]
    >>> plt.close(fig)
    """
    x, samples = _repeated(ax, x, samples, 2)
    level = _check.number("level", level, 0.0, open_low=True)
    if level >= 1:
        raise ValueError(f"level is {level}; expected a share below 1")
    low, high = np.quantile(samples, [(1 - level) / 2, (1 + level) / 2], axis=0)
    color = mode(i)["color"]
    return ax.fill_between(x, low, high, color=color, alpha=0.2, linewidth=0, label=label)


def threshold(ax: Axes, at: float, text: str, axis: Literal["x", "y"] = "x") -> Annotation:
    """Draw a thin grey line at a threshold, with its name beside it.

    The name stands at the upper end of a vertical line and at the right end of a horizontal one,
    on the side of the line where there is more room when the figure is shown.

    Parameters
    ----------
    ax : matplotlib.axes.Axes
    at : float
        Where the line is.
    text : str
        Its name.
    axis : {"x", "y"}
        The axis on which `at` lies: "x" draws a vertical line.

    Returns
    -------
    matplotlib.text.Annotation
        The name, for example to move it.

    Examples
    --------
    >>> fig, ax = panels()
    >>> threshold(ax, 0.8, "threshold").get_text()
    'threshold'
    >>> plt.close(fig)
    """
    _check.kind("ax", ax, Axes)
    at = _check.number("at", at, -np.inf)
    _one_of("axis", axis, ("x", "y"))
    name = _Beside(ax, at, _check.kind("text", text, str), axis)
    line = ax.axvline if axis == "x" else ax.axhline
    line(at, color="0.5", linewidth=1, zorder=1.5)
    ax.add_artist(name)
    return name


class _Beside(Annotation):
    """A text beside a line, on the side that has more room at the time of drawing."""

    def __init__(self, ax: Axes, at: float, text: str, axis: str) -> None:
        self.inside, self.at, self.vertical = ax, at, axis == "x"
        super().__init__(
            text,
            xy=(at, 0.98) if self.vertical else (0.99, at),
            xycoords=("data", "axes fraction") if self.vertical else ("axes fraction", "data"),
            xytext=(0, 0),
            textcoords="offset points",
            ha="right",
            va="top",
            color="0.3",
            fontsize=SMALLEST_TEXT,
            bbox={"facecolor": "white", "alpha": 0.7, "linewidth": 0, "pad": 1},
        )

    def update_positions(self, renderer: RendererBase) -> None:
        """Choose the side; matplotlib calls this before it measures or draws the text."""
        place = self.inside.transData.transform((self.at, self.at))
        across, up = self.inside.transAxes.inverted().transform(place)
        if self.vertical:
            right = across < 0.5
            self.set(ha="left" if right else "right", position=(4 if right else -4, 0))
        else:
            above = up < 0.5
            self.set(va="bottom" if above else "top", position=(0, 3 if above else -3))
        super().update_positions(renderer)


def noise_axis(
    ax: Axes, label: str = r"noise $\sigma$", ticks: npt.ArrayLike | None = None
) -> None:
    """Make the horizontal axis one of noise: logarithmic, with high noise at the left.

    Generation then runs from left to right, in all figures of the book.

    Parameters
    ----------
    ax : matplotlib.axes.Axes
    label : str
        Name of the axis.
    ticks : array_like, shape (n,), optional
        Noise levels to be marked; by default, the powers of ten, or more if these are few.

    Examples
    --------
    >>> fig, ax = panels()
    >>> line = theory(ax, [0.1, 10], [0, 1])
    >>> noise_axis(ax, ticks=[10, 1, 0.1])
    >>> left, right = ax.get_xlim()
    >>> bool(left > right), [tick.get_text() for tick in ax.get_xticklabels()]
    (True, ['10', '1', '0.1'])
    >>> plt.close(fig)
    """
    log_ticks(ax, "x", ticks)
    ax.xaxis.set_inverted(True)
    ax.set_xlabel(label)


def log_ticks(ax: Axes, axis: Literal["x", "y"], ticks: npt.ArrayLike | None = None) -> None:
    """Make an axis logarithmic, with plain numbers as ticks.

    Call it after `ax.loglog` and the like, which set the ticks of matplotlib again.

    Parameters
    ----------
    ax : matplotlib.axes.Axes
    axis : {"x", "y"}
    ticks : array_like, shape (n,), optional
        Numbers to be marked; by default, the powers of ten, or more if these are few.

    Examples
    --------
    >>> fig, ax = panels()
    >>> line = theory(ax, [1, 2], [0.001, 1000])
    >>> log_ticks(ax, "y", [0.001, 1, 1000])
    >>> [tick.get_text() for tick in ax.get_yticklabels()]
    ['0.001', '1', '1000']
    >>> plt.close(fig)
    """
    _check.kind("ax", ax, Axes)
    _one_of("axis", axis, ("x", "y"))
    marks = None if ticks is None else _check.array("ticks", ticks, 1)
    if marks is not None and (marks <= 0).any():
        raise ValueError(f"ticks contains {marks.min()}; expected numbers > 0")
    if getattr(ax, f"get_{axis}scale")() != "log":
        getattr(ax, f"set_{axis}scale")("log")
    side = ax.xaxis if axis == "x" else ax.yaxis
    side.set_major_locator(_PlainTicks() if marks is None else FixedLocator(marks.tolist()))
    side.set_major_formatter(FuncFormatter(lambda value, _: _plain(value)))
    side.set_minor_formatter(NullFormatter())


class _PlainTicks(LogLocator):
    """The powers of ten, and where an axis shows fewer than three, their 2- and 5-fold too."""

    def tick_values(self, vmin: float, vmax: float) -> list[float]:
        for factors in ((1.0,), (1.0, 2.0, 5.0)):
            self.set_params(subs=factors)
            ticks = np.asarray(super().tick_values(vmin, vmax))
            if ((ticks >= min(vmin, vmax)) & (ticks <= max(vmin, vmax))).sum() >= 3:
                break
        return ticks.tolist()


def _plain(value: float) -> str:
    """A number without superscripts: 0.01, 20 or, far from 1, 1e-7."""
    digits, _, exponent = f"{value:g}".partition("e")
    return (f"{digits}e{int(exponent)}" if exponent else digits).replace("-", "\N{MINUS SIGN}")


def _one_of(name: str, value: object, allowed: tuple[object, ...]) -> None:
    if value not in allowed:
        raise ValueError(f"{name} is {_check.brief(value)}; expected one of {allowed}")


def _curve(ax: Axes, x: npt.ArrayLike, y: npt.ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    _check.kind("ax", ax, Axes)
    x, y = _check.array("x", x, 1), _check.array("y", y, 1)
    _check.same_shape("y", y.shape, x.shape)
    return x, y


def _repeated(
    ax: Axes, x: npt.ArrayLike, samples: npt.ArrayLike, least: int
) -> tuple[np.ndarray, np.ndarray]:
    _check.kind("ax", ax, Axes)
    x, samples = _check.array("x", x, 1), _check.array("samples", samples, 2)
    _check.integer("number of runs", len(samples), least)
    _check.same_shape("samples", samples.shape, (len(samples), len(x)))
    return x, samples
