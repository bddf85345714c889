"""Each word with which the database refuses an action has a sentence for people, and each sentence has a word of the database."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from pgqueue import sql
from pgqueue.model.job import STATES
from pgqueue.model.refusal import ELSEWHERE, REFUSED, SENTENCES, reasons, why_refused
from pgqueue.ui.acting.operations import DONE

FOLDER = Path(sql.__file__).parent
FILES = [
    FOLDER / "actions/preview_action.sql",
    *(FOLDER / f"actions/functions/{name}.sql" for name in ("act", "refusal")),
    *FOLDER.glob("actions/functions/undo*.sql"),
    *(FOLDER / f"jobs/functions/{name}.sql" for name in ("cancel", "edit", "revive")),
]
# A text that is the value of a branch or of a return, or the last argument after a refusal().
WORD = re.compile(r"(?:\b(?:then|else|return)|null\),)\s+'([a-z]+(?:[ _][a-z]+)*)'")


def words_of(path: Path) -> set[str]:
    text = re.sub(r"--.*", "", path.read_text(encoding="utf-8"))
    return set(WORD.findall(text))


def test_each_word_of_the_sql_has_a_sentence_and_no_sentence_is_left_over() -> None:
    words = set().union(*map(words_of, FILES))
    assert words - {*STATES, *DONE, "undone"} == SENTENCES.keys() - {REFUSED, ELSEWHERE}


@pytest.mark.parametrize(
    ("word", "why"),
    [
        ("running", "it is running"), ("node", SENTENCES["node"]), ("refused: queue 'a b' is no name", "queue 'a b' is no name"),
        ("refused", "the database refused it"),
    ],
)  # fmt: skip
def test_a_word_becomes_a_reason(word: str, why: str) -> None:
    assert why_refused(word) == why


def test_reasons_are_counted() -> None:
    assert reasons({"running": 2000, "moved on": 1}) == "1 (it has moved on), 2,000 (it is running)"
