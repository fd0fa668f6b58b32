"""Phrases that read as translated, and must not come back into pages, chapters or the package."""

import re
from pathlib import Path

import notebook_form
import pytest

ROOT = Path(__file__).parents[1]
# What is wrong, what to write instead.
PHRASES = {
    r"\banew\b": "again, from scratch",
    r"\bput(?:s|ting)? [\w ]{0,20}\bright\b": "correct",
    r"\bh(?:o|e)ld(?:s|ing)? [^.;:()]{0,60}\bagainst\b": "compare with, check against",
    r"\bis no (?:array|matrix|number|tensor)\b": "is not an array",
    r"\bno cell of its own\b": "no cell checks it",
    r"\bwithout a word\b": "silently",
    r"\bworth of (?:a|the|one|each) (?:map|step|sampler)\b": "how many power iterations it equals",
    r"\bto its due\b": "its share",
    r"\bin a crowd\b": "in a cluster",
    r"\binnocent\b": "not to blame",
    r"\bcan be had\b": "is available",
    r"\basks for no gradients\b": "does not require gradients",
    r"\bin the form in which they are true\b": "states precisely when each claim holds",
    r"\bat once or not at all\b": "atomically",
    r"\bcomes? along with\b": "is bundled with",
    r"\bbe found out\b": "fail visibly",
}
SOURCES = [
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "Makefile")),
    *sorted((ROOT / "book").rglob("*.md")),
    *sorted((ROOT / "book").rglob("*.py")),
    *sorted((ROOT / "lindiff").rglob("*.py")),
    *notebook_form.default_paths(),
]


def read(path):
    """Return the text of a file; of a chapter its text cells and its code."""
    if path.suffix != ".ipynb":
        return path.read_text(encoding="utf-8")
    return "\n".join(cell.source for cell in notebook_form.read(path).cells)


def found(text):
    """List the phrases in a text, each with what to write instead."""
    text = re.sub(r"\s+", " ", text)
    return [
        f"{match[0]!r}: write {better!r}"
        for phrase, better in PHRASES.items()
        for match in re.finditer(phrase, text, re.I)
    ]


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.name)
def test_no_phrase_reads_as_translated(path):
    assert found(read(path)) == []


@pytest.mark.parametrize(
    "text",
    [
        "It is made anew.",
        "It puts them right.",
        "We hold the law\nagainst a simulation.",
        "x is no array of numbers",
        "the worth of a map",
        "It fails without a\nword.",
    ],
)
def test_a_phrase_is_found_across_lines(text):
    assert len(found(text)) == 1


@pytest.mark.parametrize(
    "text", ["The right-hand side is put first.", "It holds. We check it against the law."]
)
def test_plain_english_passes(text):
    assert found(text) == []
