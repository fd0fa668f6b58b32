"""What a teacher uses: slides, plans, votes, the table of exercises."""

import re
from pathlib import Path

import decks
import exercises
import pytest
import teaching

ROOT = Path(__file__).parents[1]
DECKS = {deck.name: deck for deck in decks.read_all(ROOT)}
SESSIONS = [name for name in DECKS if name.startswith(teaching.SESSION)]
CHAPTERS = exercises.chapters(ROOT)
EXERCISES = [one for notebook in CHAPTERS.values() for one in exercises.exercises(notebook)]
TEXT = """# A talk

- one

Note: 3 minutes. Slowly.

---

Block: The middle
Hand-out: no

## Vote: which?

- **A** this | that
- **B** none

. . .

Key: B. Because.

Note: 4 minutes. Wait.

Misconception: A forgets the rest.
"""


@pytest.fixture
def deck(tmp_path):
    path = tmp_path / "session-7.md"
    path.write_text(TEXT)
    return decks.read(path)


def test_a_deck_has_slides_parts_minutes_and_blocks(deck):
    first, second = deck.slides
    assert (deck.name, deck.title, deck.minutes) == ("session-7", "A talk", 7)
    assert (first.title, first.note, first.is_vote) == ("A talk", "Slowly.", False)
    assert second.parts[1] == "Key: B. Because." and second.is_vote
    assert first.printed and not second.printed and "Hand-out" not in second.text
    assert [(name, len(slides)) for name, slides in deck.blocks] == [
        ("A talk", 1),
        ("The middle", 1),
    ]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("- no title\n\nNote: 3 minutes.", "talk.md, slide 1: no title"),
        ("# A\n\nNote: 3 minutes.\n\n---\n\n## B\n\nNote: soon", "talk.md, slide 2: no minutes"),
        ("# A\n\n- nothing to say", "talk.md, slide 1: no minutes"),
    ],
)
def test_a_slide_without_title_or_minutes_is_named(tmp_path, text, words):
    (tmp_path / "talk.md").write_text(text)
    with pytest.raises(ValueError, match=words):
        decks.read(tmp_path / "talk.md")


def test_a_plan_adds_up_the_minutes_of_its_slides(deck):
    assert teaching.plan(deck).splitlines()[2:] == [
        "| 0 to 3 | A talk | A talk |",
        "| 3 to 7 | The middle | Vote: which? |",
    ]


def test_a_vote_shows_its_key_only_in_a_fold(deck):
    text = teaching.votes([deck])
    shown, fold = text.split(":::{dropdown} Key and misconception")
    assert "Vote 1, session 7: which?" in shown and "**A** this" in shown and "Because" not in shown
    assert "**Key**: B. Because." in fold and "A forgets the rest." in fold and "Wait" not in fold


# --- the six sessions ---------------------------------------------------------------------------


def test_there_are_six_sessions_of_75_minutes():
    assert SESSIONS == [f"session-{k}" for k in range(1, 7)]
    assert {name: DECKS[name].minutes for name in SESSIONS} == dict.fromkeys(SESSIONS, 75)


@pytest.mark.parametrize("name", DECKS)
def test_a_deck_asks_before_it_answers(name):
    deck = DECKS[name]
    titles = [slide.title for slide in deck.slides]
    assert len(set(titles)) == len(titles)
    for slide in deck.slides:
        assert len(decks.FIGURE.findall(slide.text)) <= 1, slide.title
        assert len(slide.note.split()) >= (5 if name in SESSIONS else 0), slide.title
        if slide.is_vote:
            options = re.findall(r"^- \*\*([A-D])\*\*", slide.parts[0], re.M)
            key = re.search(r"^Key: ([A-D])\b", "\n".join(slide.parts[1:]), re.M)
            assert options == sorted(options) and key[1] in options, slide.title
            assert len(options) >= 2 and "Key" not in slide.parts[0], slide.title
            assert decks.MISCONCEPTION.search(slide.note), slide.title


def test_there_are_ten_votes_and_one_in_each_session():
    count = [sum(slide.is_vote for slide in DECKS[name].slides) for name in SESSIONS]
    assert sum(count) >= 10 and min(count) >= 1


def test_the_page_for_instructors_has_the_plan_of_each_session():
    page = (ROOT / "book" / "for-instructors.md").read_text(encoding="utf-8")
    assert re.findall(r"^```\{plan\} (\S+)$", page, re.M) == [*SESSIONS, "lecture"]
    for name in [*SESSIONS, "lecture"]:
        assert f"../slides/{name}.html" in page and f"../slides/{name}-handout.html" in page


# --- exercises ----------------------------------------------------------------------------------


def test_the_table_has_every_exercise_in_order_and_no_other():
    table = exercises.table(ROOT)
    assert list(table) == [one.label for one in EXERCISES]
    for label, entry in table.items():
        assert set(entry) == {"minutes", "needs", "session"}, label
        assert entry["minutes"] in (5, 10, 15, 20, 30, 45, 60, 90, 120), label
        assert entry["session"] in (1, 2, 3, 4, 5, 6, "seminar", "project"), label


def test_every_exercise_has_a_kind_and_a_solution():
    assert {one.kind for one in EXERCISES} == {"derive", "compute", "explore"}
    assert [one.label for one in EXERCISES if not one.title or not one.solution] == []


def test_the_tables_of_exercises_have_one_row_each():
    rows = [line for line in teaching.exercise_tables(ROOT).splitlines() if "{ref}`" in line]
    assert len(rows) == len(EXERCISES)
    assert re.fullmatch(r"\| \{ref\}`.+ <ex-01-half>` \| compute, \d+, 1 \| .* \|", rows[0])
