"""The scripts and the data of the live figures, without a browser."""

import json
import re
from pathlib import Path

import laboratories
import numpy as np
import pytest
from bs4 import BeautifulSoup
from py_mini_racer import MiniRacer
from script_numbers import COMPARISONS, digit_model
from test_extension import build

from lindiff.data import mnist

STATIC = Path(__file__).resolve().parent.parent / "book" / "_static"
# What browsers have and the bare engine has not.
ATOB = """
globalThis.atob = (text) => {
  const letters = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/';
  const codes = [...text.replace(/=+$/, '')].map((c) => letters.indexOf(c));
  let out = '';
  for (let k = 0; k + 1 < codes.length; k += 4) {
    const [a, b, c, d] = [0, 1, 2, 3].map((j) => codes[k + j] ?? 0);
    const word = (a << 18) | (b << 12) | (c << 6) | d;
    const bytes = [word >> 16, word >> 8, word].map((one) => one & 255);
    out += String.fromCharCode(...bytes.slice(0, Math.min(codes.length - k, 4) - 1));
  }
  return out;
};
"""


@pytest.fixture(scope="module")
def call():
    engine = MiniRacer()
    engine.eval(ATOB + (STATIC / "linear.js").read_text(encoding="utf-8"))

    def evaluate(source, argument):
        text = json.dumps(argument)
        return json.loads(engine.eval(f"JSON.stringify(((it) => ({source}))({text}))"))

    return evaluate


@pytest.mark.parametrize("compare", COMPARISONS, ids=lambda one: one.__name__)
def test_the_script_agrees_with_the_package(call, compare):
    compare(call, np.random.default_rng(18))


def test_the_data_of_the_digits_are_small_and_faithful():
    data = laboratories.digits()
    text = json.dumps(data, separators=(",", ":"))
    scripts = sum(file.stat().st_size for file in STATIC.glob("l*.js") if "lab" in file.name)
    scripts += (STATIC / "linear.js").stat().st_size
    assert len(text) + scripts < 200_000, (len(text), scripts)
    x, label = mnist()
    for k in range(10):
        model, own = digit_model(data, k), x[label == k]
        assert np.abs(model.mean - own.mean(axis=0)).max() < 0.2, k
        centred = own - own.mean(axis=0)
        kept = (centred @ model.basis.T).var(axis=0)
        # the stored variances are those of the digits along the stored directions
        np.testing.assert_allclose(kept, model.eigenvalues, rtol=0.05)
        assert kept.sum() > 0.75 * centred.var(axis=0).sum(), k


@pytest.fixture(scope="module")
def live_book(tmp_path_factory):
    folder = tmp_path_factory.mktemp("live")
    figure = (
        "```{laboratory} NAME\n:name: fig-NAME\n:seed: 5\n:caption: What it shows, $x^2$.\n\n"
        "Words without a script.\n```\n"
    )
    pages = {
        "book/index.md": "# A book\n\nSee {numref}`fig-spike` and {cite}`known`.\n\n"
        "```{figure} dot.png\n:name: fig-dot\n:alt: One white dot.\n\nA dot\n```\n\n"
        "```{bibliography}\n```\n",
        "book/first.md": "# Digits\n\n" + figure.replace("NAME", "digits"),
        "book/second.md": "# Two\n\n"
        + figure.replace("NAME", "spike")
        + "\n"
        + figure.replace("NAME", "samplers"),
    }
    result = build(folder, pages)
    assert result.returncode == 0, result.stdout[-2000:] + result.stderr[-2000:]
    return folder / "_build" / "html" / "book"


def test_pages_load_only_their_own_scripts(live_book):
    def loaded(name):
        html = (live_book / name).read_text(encoding="utf-8")
        return sorted(re.findall(r'src="[^"]*_static/(l[a-z-]+\.js)', html))

    common = ["laboratory.js", "linear.js"]
    assert loaded("index.html") == []
    assert loaded("first.html") == sorted([*common, "laboratory-digits.js"])
    assert loaded("second.html") == sorted(
        [*common, "laboratory-samplers.js", "laboratory-spike.js"]
    )


def test_figures_have_numbers_words_and_data(live_book):
    soup = BeautifulSoup((live_book / "first.html").read_text(encoding="utf-8"), "html.parser")
    figure = soup.select_one("figure.laboratory#fig-digits")
    assert "What it shows" in figure.select_one("figcaption").text
    assert "Words without a script." in figure.select_one("noscript").text
    live = figure.select_one(".laboratory-live")
    assert live["data-seed"] == "5"
    assert json.loads(live.script.string) == laboratories.digits()
    index = (live_book / "index.html").read_text(encoding="utf-8")
    assert re.search(r'href="second.html#fig-spike".{0,60}Fig', index, re.S)


@pytest.mark.parametrize("wrong", ["nothing\n:caption: x", "spike"])
def test_a_wrong_name_and_a_missing_caption_are_faults(tmp_path, wrong):
    pages = {
        "book/index.md": "# A book\n\n{cite}`known`\n\n"
        "```{figure} dot.png\n:name: fig-dot\n:alt: One white dot.\n\nA dot\n```\n\n"
        "```{bibliography}\n```\n",
        "book/other.md": f"# Other\n\n```{{laboratory}} {wrong}\n```\n",
    }
    result = build(tmp_path, pages)
    assert result.returncode and "expected one of ('digits'," in result.stdout + result.stderr
