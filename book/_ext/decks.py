"""Read the slides of a lecture: `book/slides/NAME.md`.

A line `---` separates two slides. What follows a line `. . .` appears at the next press of a key.
A slide that opens a part of the lecture begins with `Block: name of the part`. One that answers
what was asked before has a line `Hand-out: no` before its title, and the hand-out leaves it out.
What follows `Note:` is for the speaker; it begins with the minutes, as in `Note: 4 minutes.`
A slide whose title begins with `Vote:` asks the class; `Key:` begins its answer, and in its note
`Misconception:` says what a wrong vote reveals.
"""

import re
from pathlib import Path
from typing import NamedTuple

FOLDER = "book/slides"
FIGURE = re.compile(r"!\[\]\((fig-[\w-]+)\)")
BLOCK = re.compile(r"\A\s*Block: *(.+)\n")
UNPRINTED = re.compile(r"\A\s*Hand-out: no *\n")
TITLE = re.compile(r"^##? (.+)$", re.M)
MINUTES = re.compile(r"\A(\d+) minutes?\.? *")
KEY = re.compile(r"^Key: *", re.M)
MISCONCEPTION = re.compile(r"^Misconception: *", re.M)
VOTE = "Vote: "


class Slide(NamedTuple):
    """One slide; `parts` are texts in Markdown, the first of which shows at once."""

    title: str
    block: str | None
    parts: tuple
    minutes: int
    note: str
    printed: bool

    @property
    def text(self):
        """Return all that the class sees in the end."""
        return "\n\n".join(self.parts)

    @property
    def is_vote(self):
        """Return whether the slide asks for a vote."""
        return self.title.startswith(VOTE)


class Deck(NamedTuple):
    """The slides of one lecture; `name` is that of the file and of the page."""

    name: str
    title: str
    slides: tuple

    @property
    def minutes(self):
        """Return how long the lecture takes."""
        return sum(slide.minutes for slide in self.slides)

    @property
    def blocks(self):
        """Return the parts of the lecture: pairs of a name and its slides."""
        found = []
        for slide in self.slides:
            if slide.block or not found:
                found.append((slide.block or self.title, []))
            found[-1][1].append(slide)
        return found


def read(path):
    """Return the deck in the file `path`.

    Raises
    ------
    ValueError
        If a slide has no title, or no minutes.
    """
    path = Path(path)
    texts = re.split(r"^---$", path.read_text(encoding="utf-8"), flags=re.M)
    slides = tuple(_slide(text, f"{path.name}, slide {n}") for n, text in enumerate(texts, 1))
    return Deck(path.stem, slides[0].title, slides)


def _slide(text, place):
    block = BLOCK.match(text)
    text = text[block.end() if block else 0 :]
    printed = UNPRINTED.match(text) is None
    shown, _, note = UNPRINTED.sub("", text).partition("\nNote:")
    title, minutes = TITLE.search(shown), MINUTES.match(note.strip())
    if title is None:
        raise ValueError(f"{place}: no title; expected a line that begins with #")
    if minutes is None:
        raise ValueError(f"{place}: no minutes; expected a line like 'Note: 4 minutes.'")
    parts = tuple(part.strip() for part in re.split(r"^\. \. \.$", shown, flags=re.M))
    note = note.strip()[minutes.end() :].strip()
    name = block and block[1].strip()
    return Slide(title[1].strip(), name, parts, int(minutes[1]), note, printed)


def read_all(folder):
    """Return all decks of the book in `folder`, in the order of their names."""
    return [read(path) for path in sorted(Path(folder, FOLDER).glob("*.md"))]
