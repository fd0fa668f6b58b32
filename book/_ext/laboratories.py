"""Figures that compute in the reader's browser: the directive `laboratory`.

    ```{laboratory} digits
    :name: fig-live
    :caption: What it shows
    :seed: 3

    What a reader sees instead whose browser runs no scripts.
    ```

The scripts are in `book/_static`, without a library; a page loads only those of its figures. What
they need to know of the digits is made here, by `lindiff`, and travels inside the page, so that a
page that is opened from the disk has it too.
"""

import base64
import functools
import html
import json

import numpy as np
from docutils import nodes
from docutils.parsers.rst import directives
from sphinx.util.docutils import SphinxDirective

from lindiff.data import mnist
from lindiff.gaussian import Gaussian

NAMES = ("digits", "samplers", "spike")
SHARED, MODES = 64, 48  # eigenimages of all digits, and directions kept of one class
BYTE = 127  # the largest number that a signed byte holds, its negative included


def quantised(array):
    """Return numbers as signed bytes, and the unit in which these count."""
    unit = np.abs(array).max() / BYTE
    return np.rint(array / unit).astype(np.int8), float(unit)


def packed(array):
    """Write signed bytes as text."""
    return base64.b64encode(array.tobytes()).decode()


def packed_rows(rows):
    """Write orthonormal rows as text, each in its own unit: the script normalises them again."""
    return packed(np.array([quantised(row)[0] for row in rows]))


def rounded(values):
    """Return numbers with five digits, as a page writes them."""
    return [float(f"{value:.5g}") for value in values]


@functools.cache
def digits():
    """Fit one Gaussian to each class of digits, and one to all, inside the shared eigenimages."""
    x, label = mnist()
    every = Gaussian.fit(x, SHARED)
    coordinates = (x - every.mean) @ every.basis.T
    mean, mean_unit = quantised(every.mean)
    classes = []
    for digit in range(10):
        one = Gaussian.fit(coordinates[label == digit], MODES)
        centre, unit = quantised(one.mean)
        classes.append(
            {
                "centre": packed(centre),
                "unit": unit,
                "axes": packed_rows(one.basis),
                "eigenvalues": rounded(one.eigenvalues),
            }
        )
    return {
        "side": 28,
        "mean": packed(mean),
        "meanUnit": mean_unit,
        "basis": packed_rows(every.basis),
        "eigenvalues": rounded(every.eigenvalues[:MODES]),
        "classes": classes,
    }


class Live(nodes.General, nodes.Element):
    """The place where a script builds its figure."""


class Laboratory(SphinxDirective):
    """A live figure with its caption, and what stands there without scripts."""

    required_arguments = 1
    has_content = True
    option_spec = {  # noqa: RUF012  # so does every directive of docutils
        "name": directives.unchanged,
        "caption": directives.unchanged_required,
        "seed": directives.nonnegative_int,
    }

    def run(self):
        """Make a figure of the live place, the text without scripts, and the caption."""
        name = self.arguments[0]
        if name not in NAMES or "caption" not in self.options:
            raise self.error(f"laboratory {name!r}: expected one of {NAMES}, and a caption")
        caption, messages = self.parse_inline(self.options["caption"])
        text = self.parse_content_to_nodes()
        still = [nodes.raw("", tag, format="html") for tag in ("<noscript>", "</noscript>")]
        figure = nodes.figure(
            "",
            Live("", laboratory=name, seed=self.options.get("seed", 0)),
            still[0],
            *text,
            still[1],
            nodes.caption("", "", *caption),
            classes=["laboratory"],
        )
        self.set_source_info(figure)
        self.add_name(figure)
        return [figure, *messages]


def visit_live(translator, node):
    """Write the place, with the data of the digits where these are shown."""
    name, seed = node["laboratory"], node["seed"]
    data = ""
    if name == "digits":
        text = json.dumps(digits(), separators=(",", ":"))
        data = f'<script type="application/json">{text}</script>'
    translator.body.append(
        f'<div class="laboratory-live" data-laboratory="{html.escape(name)}" '
        f'data-seed="{seed}">{data}</div>\n'
    )
    raise nodes.SkipNode


def leave_out(translator, node):
    """Write nothing where no script runs."""
    raise nodes.SkipNode


def load_scripts(app, pagename, templatename, context, doctree):
    """Let a page load the scripts of its live figures, and no other page any."""
    names = {node["laboratory"] for node in doctree.findall(Live)} if doctree else set()
    if not names:
        return
    app.add_css_file("laboratory.css")
    for script in ("linear", "laboratory", *(f"laboratory-{name}" for name in sorted(names))):
        app.add_js_file(f"{script}.js", loading_method="defer")


def setup(app):
    """Register the directive."""
    other = dict.fromkeys(("latex", "text", "man", "texinfo"), (leave_out, None))
    app.add_node(Live, html=(visit_live, None), **other)
    app.add_directive("laboratory", Laboratory)
    app.connect("html-page-context", load_scripts)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
