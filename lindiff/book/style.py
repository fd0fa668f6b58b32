"""The style of the book's figures: one width, one smallest text, one colour per mode."""

import sys
from typing import Any

from lindiff import _check

plt = _check.optional("matplotlib.pyplot", "book")

#: Colours that remain distinct for colour-blind readers [Okabe and Ito 2008], one per mode.
COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
_MARKERS = "osD^vP*"
_LINES = ("-", "--", "-.", ":", (0, (5, 1)), (0, (3, 1, 1, 1)), (0, (1, 1)))

#: Size in points of the smallest text in a figure: numbers at the axes, legends. Matplotlib draws
#: an index or an exponent at 0.7 of the size of its formula. Beside a symbol in a label that is
#: fine; as a tick, 10 to the power -1, it would make the number to be read too small on a phone,
#: so logarithmic axes have plain numbers.
SMALLEST_TEXT = 10.5

#: Width of every figure in inches. A phone shows it 358 CSS pixels wide, and the smallest text
#: is then 9 pixels high if WIDTH <= 358 / 9 * SMALLEST_TEXT / 72 = 5.8.
WIDTH = 5.6


def use_style() -> None:
    """Set matplotlib's defaults for the book: text for a phone, pixels for a fine screen.

    In a notebook, figures also keep the size in inches that they are given: by default, each is
    cropped or extended to what is drawn, and the size of its text then differs from the next.
    """
    settings: dict[str, Any] = {
        "figure.figsize": (WIDTH, 3.4),
        "figure.dpi": 200,
        "figure.facecolor": "white",
        "savefig.facecolor": "white",
        "figure.constrained_layout.use": True,
        "font.size": 12,
        "axes.titlesize": 12,
        "xtick.labelsize": SMALLEST_TEXT,
        "ytick.labelsize": SMALLEST_TEXT,
        "legend.fontsize": SMALLEST_TEXT,
        "axes.formatter.min_exponent": 5,  # 0.1 and 1000, not powers of ten
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.grid": True,
        "grid.alpha": 0.25,
        "legend.frameon": False,
        "lines.linewidth": 1.8,
        "lines.markersize": 5,
        "image.cmap": "gray",
        "axes.prop_cycle": plt.cycler(color=COLORS),
    }
    plt.rcParams.update(settings)
    shell = sys.modules["IPython"].get_ipython() if "IPython" in sys.modules else None
    if hasattr(shell, "kernel"):
        from matplotlib_inline.config import InlineBackend

        inline = InlineBackend.instance(parent=shell)
        keep: dict[str, Any] = {"bbox_inches": None}
        inline.print_figure_kwargs = {**inline.print_figure_kwargs, **keep}


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
