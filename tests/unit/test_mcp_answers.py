"""The answers of ``pgq mcp``: their bound, and what is left of a value that is too large."""

from __future__ import annotations

import json

import psycopg
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pgqueue.errors import JobNotFoundError
from pgqueue.ui.mcp.answers import CUT, DATA, MOST, answer, sentence


def tree(width: int, depth: int) -> object:
    return [tree(width, depth - 1)] * width if depth else "leaf"


def test_an_answer_that_fits_is_left_as_it_is():
    value = {"rows": [{"id": "1"}] * 50, "text": "x" * 4000}
    assert json.loads(answer(value)) == {"note": DATA, "answer": value}


@pytest.mark.parametrize(
    "value",
    [tree(7, 6), {f"name {number}" * 30: "x" * 5000 for number in range(3000)}, "\u2028" * 100_000, [1.5] * 50_000],
    ids=["tree", "names", "escapes", "numbers"],
)  # fmt: skip
def test_an_answer_that_does_not_fit_is_shortened_and_says_so(value):
    text = answer({"state": "pending", "args": value})
    assert len(text) <= MOST
    found = json.loads(text)
    assert found["note"] == f"{DATA} {CUT}"
    assert found["answer"]["state"] == "pending"
    assert "…" in json.dumps(found["answer"]["args"], ensure_ascii=False)


@given(
    st.dictionaries(
        st.text(max_size=5),
        st.recursive(
            st.none() | st.integers() | st.text(),
            lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
            max_leaves=20,
        ),
        max_size=10,
    )
)
def test_every_answer_is_ascii_json_within_the_bound(value):
    text = answer(value)
    assert text.isascii()
    assert len(text) <= MOST
    assert set(json.loads(text)) == {"note", "answer"}


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (JobNotFoundError(7), "PGQ-503"),
        (psycopg.errors.QueryCanceled(), "did not answer within the time limit"),
        (TimeoutError(), "did not answer"),
        (KeyError("secret"), "The tool failed: KeyError."),
    ],
)
def test_an_error_is_one_short_sentence(error, said):
    assert said in sentence(error)
    assert "secret" not in sentence(error)
    assert len(sentence(JobNotFoundError(7))) < 1000
