"""Tables for instructors, made from what is taught: the directives `plan`, `votes`, `exercises`.

A plan comes from the slides of its session, so the two cannot disagree on order or minutes.
"""

from pathlib import Path

import decks
from exercises import TABLE, chapters, exercises, table
from sphinx.util.docutils import SphinxDirective

SESSION = "session-"


def plan(deck):
    """Return the plan of a session as a table in Markdown."""
    lines = ["| minutes | part | slides |", "|---|---|---|"]
    start = 0
    for name, slides in deck.blocks:
        end = start + sum(slide.minutes for slide in slides)
        titles = " · ".join(slide.title for slide in slides)
        lines.append(f"| {start} to {end} | {_cell(name)} | {_cell(titles)} |")
        start = end
    return "\n".join(lines)


def votes(found):
    """Return the votes of all sessions with their keys, as text in Markdown."""
    parts = []
    for deck in found:
        session = deck.name.removeprefix(SESSION)
        for slide in deck.slides:
            if slide.is_vote:
                parts.append(_vote(len(parts) + 1, session, slide))
    return "\n\n".join(parts)


def _vote(number, session, slide):
    shown = decks.FIGURE.sub("{numref}`\\1`", decks.TITLE.sub("", slide.parts[0], count=1)).strip()
    title = slide.title.removeprefix(decks.VOTE)
    lines = [f"::::{{admonition}} Vote {number}, session {session}: {title}", shown]
    answer = "\n\n".join(slide.parts[1:])
    if decks.KEY.search(answer):
        wrong = decks.MISCONCEPTION.split(slide.note)[-1].strip()
        answer = decks.FIGURE.sub("{numref}`\\1`", decks.KEY.sub("**Key**: ", answer))
        lines += [":::{dropdown} Key and misconception", answer, "", wrong, ":::"]
    return "\n\n".join(lines) + "\n\n::::"


def exercise_tables(folder):
    """Return one table of exercises for each chapter of the book in `folder`, in Markdown."""
    known, parts = table(folder), []
    for path, notebook in chapters(folder).items():
        lines = [f"Chapter {int(path.name[:2])}, [](/notebooks/{path.name})", ""]
        lines += ["| exercise | kind, minutes, session | needs |", "|---|---|---|"]
        for exercise in exercises(notebook):
            entry = known[exercise.label]
            kind = f"{exercise.kind}, {entry['minutes']}, {entry['session']}"
            reference = f"{{ref}}`{_cell(exercise.title)} <{exercise.label}>`"
            lines.append(f"| {reference} | {kind} | {_cell(entry['needs'])} |")
        parts.append("\n".join(lines))
    return "\n\n".join(parts)


def _cell(text):
    return " ".join(text.split()).replace("|", "\\|")


class Plan(SphinxDirective):
    """The plan of one session."""

    required_arguments = 1

    def run(self):
        """Write the table as text and let the page's own parser read it."""
        path = Path(self.env.srcdir, decks.FOLDER, f"{self.arguments[0]}.md")
        self.env.note_dependency(str(path))
        return self.parse_text_to_nodes(plan(decks.read(path)))


class Votes(SphinxDirective):
    """The votes of all sessions."""

    def run(self):
        """Write the votes as text and let the page's own parser read them."""
        found = [d for d in decks.read_all(self.env.srcdir) if d.name.startswith(SESSION)]
        return self.parse_text_to_nodes(votes(found))


class Exercises(SphinxDirective):
    """The exercises of all chapters."""

    def run(self):
        """Write the tables as text and let the page's own parser read them."""
        self.env.note_dependency(str(Path(self.env.srcdir, TABLE)))
        return self.parse_text_to_nodes(exercise_tables(self.env.srcdir))


def setup(app):
    """Register the directives."""
    for name, directive in (("plan", Plan), ("votes", Votes), ("exercises", Exercises)):
        app.add_directive(name, directive)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
