"""Turn the references of a chapter into words, for a notebook that stands alone.

JupyterLab does not resolve `{prf:ref}` or `{numref}` across notebooks. A reference becomes the
title of what it refers to and its chapter; an equation is repeated below the text.
"""

import re
from pathlib import Path
from string import ascii_uppercase

from pybtex.database import parse_file

STATEMENT = re.compile(
    r"^[:`]{3,}\{(?:prf:(?P<kind>\w+)|(?P<exercise>exercise))\} *(?P<title>.*)\n"
    r":label: *(?P<label>\S+)",
    re.M,
)
EQUATION = re.compile(r"\$\$(?P<formula>(?:(?!\$\$).)*?)\$\$\s*\((?P<label>eq-[\w-]+)\)", re.S)
FIGURE = re.compile(r"# @title Figure: (.+)")
SECTION = re.compile(r"^\((?P<label>sec-[\w-]+)\)=\n#+ *(?P<title>.*)$", re.M)
ROLE = re.compile(
    r"\{(?:prf:ref|ref|numref)\}`(?:(?P<text>[^`<]+?) *<(?P<there>[^>]+)>|(?P<label>[^`]+))`"
)
EQ = re.compile(r"\{eq\}`(?P<label>[^`]+)`")
CITE = re.compile(r" ?\{cite\}`[^`]+`")
AUTHORS = re.compile(r"\{cite:t\}`(?P<key>[^`]+)`")
LINK = re.compile(r"\[(?P<text>[^\]]*)\]\((?P<there>[^)\s]+)\)")
START = re.compile(
    r"(\A|\n\n|[.?!]\*? )the (?=(?:theorem|proposition|lemma|figure|equation|section)\b)"
)
CHAPTER = re.compile(r"(?:\.\./notebooks/)?(?P<number>\d\d)_\w+\.ipynb.*")


class Labels:
    """What the labels of all chapters stand for, and the works that they cite."""

    def __init__(self, chapters, works):
        self.names, self.formulas = {}, {}
        self.works = {key: authors(entry) for key, entry in parse_file(works).entries.items()}
        for path, notebook in chapters.items():
            number = int(Path(path).name[:2])
            for cell in notebook.cells:
                self._read(cell, number)

    def _read(self, cell, number):
        figure = cell.metadata.get("mystnb", {}).get("figure", {}).get("name")
        if figure:
            title = FIGURE.match(cell.source)
            name = f" “{title[1].strip()}”" if title else f" `{figure}`"
            self.names[figure] = f"the figure{name} of chapter {number}"
        if cell.cell_type != "markdown":
            return
        for one in STATEMENT.finditer(cell.source):
            kind = one["kind"] or one["exercise"]
            title = f" “{one['title'].strip()}”" if one["title"].strip() else ""
            self.names[one["label"]] = f"the {kind}{title} of chapter {number}"
        for one in SECTION.finditer(cell.source):
            self.names[one["label"]] = f"the section “{one['title'].strip()}” of chapter {number}"
        for one in EQUATION.finditer(cell.source):
            self.formulas[one["label"]] = one["formula"].strip()

    def plain(self, text):
        """Return the text with its references in words, and the equations that it refers to.

        Raises
        ------
        ValueError
            If a label is unknown.
        """

        def name(label):
            if label not in self.names:
                raise ValueError(
                    f"unknown label {label!r} in an exercise; expected one of a chapter"
                )
            return self.names[label]

        def role(match):
            place = name(match["there"] or match["label"])
            return f"{match['text']} ({place})" if match["text"] else place

        def link(match):
            chapter = CHAPTER.fullmatch(match["there"])
            if chapter:
                place = f"chapter {int(chapter['number'])}"
                return place if match["text"] in ("", place) else f"{match['text']} ({place})"
            if match["there"].startswith("sec-"):
                return f"{match['text']} ({name(match['there'])})"
            return match[0]

        def equation(match):
            if match["label"] not in self.formulas:
                raise ValueError(f"unknown label {match['label']!r}; expected one of a chapter")
            letter = quoted.setdefault(match["label"], ascii_uppercase[len(quoted)])
            return f"equation ({letter}) below"

        quoted = {}
        text = AUTHORS.sub(lambda match: self.works[match["key"]], CITE.sub("", text))
        text = LINK.sub(link, ROLE.sub(role, EQ.sub(equation, text)))
        text = START.sub(r"\1The ", text)
        for label, letter in quoted.items():
            text += f"\n\n*({letter})*\n\n$$\n{self.formulas[label]}\n$$"
        return text


def authors(entry):
    """Return the authors and the year of a work, as one cites it in a sentence."""
    people = [" ".join(person.last_names) for person in entry.persons["author"]]
    names = f"{people[0]} et al." if len(people) > 2 else " and ".join(people)
    return f"{names} ({entry.fields['year']})"
