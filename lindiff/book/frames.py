"""The interactive figure: precomputed pictures and sliders, in plain HTML."""

import base64
import html
import io
import json
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from lindiff import _check

plt = _check.optional("matplotlib.pyplot", "book")

from matplotlib.figure import Figure  # noqa: E402
from PIL import Image  # noqa: E402

#: Pixels per inch of a frame: fewer than in a still figure, as a page loads all frames at once.
RESOLUTION = 160


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

    Attributes
    ----------
    axis_labels : list of (str, str)
        Labels of the axes in the frame shown first, horizontal and vertical, as they are drawn.

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
            figure = draw(*position)
            if position == self.start:
                self.axis_labels = [(ax.get_xlabel(), ax.get_ylabel()) for ax in figure.axes]
            self.pictures[position] = base64.b64encode(_png(figure)).decode()

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


def _png(figure: Figure) -> bytes:
    """The figure as a PNG of 256 colours, a third of the size of one with all; closes it."""
    full, small = io.BytesIO(), io.BytesIO()
    figure.savefig(full, format="png", dpi=RESOLUTION)
    plt.close(figure)
    picture = Image.open(full).convert("RGB")
    picture = picture.quantize(256, dither=Image.Dither.NONE)
    picture.save(small, format="png", dpi=(RESOLUTION, RESOLUTION), optimize=True)
    return small.getvalue()
