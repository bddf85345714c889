"""The text of a search becomes a filter of jobs, and a filter becomes the text of a search."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pgqueue.database.statements import JobFilter
from pgqueue.errors import InvalidOptionError
from pgqueue.model.job import MEANT, STATE_WORDS, STATES, states_of
from pgqueue.ui.api.shapes import Listing
from pgqueue.ui.cli.filters import OPTIONS, _filter
from pgqueue.ui.reading.search import LONGEST, read, written

NOW = datetime(2026, 11, 30, 12, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "which"),
    [
        ("", JobFilter()),
        ("state:dead", JobFilter(states=["dead"])),
        ("state:failed", JobFilter(states=["retrying", "dead"])),
        ("state:running,waiting queue:mail", JobFilter(states=["running", "waiting"], queue="mail")),
        ("state:done", JobFilter(states=["completed"])),
        ('error:"timed out"', JobFilter(error="timed out")),
        ('error:"he said \\"no\\""', JobFilter(error='he said "no"')),
        (
            "key:a unique_key:b idempotency_key:c",
            JobFilter(concurrency_key="a", unique_key="b", idempotency_key="c"),
        ),
        ("mail", JobFilter(named="mail")),
        ("task:shop.send tag:vip", JobFilter(task="shop.send", tag="vip")),
        ("worker:7 workflow:9", JobFilter(worker_id=7, workflow_id=9)),
        ("args.tenant:t1 args.at.x:5", JobFilter(args=json.dumps({"tenant": "t1", "at": {"x": 5}}))),
        ("args.ok:true args.n:NaN", JobFilter(args=json.dumps({"ok": True, "n": "NaN"}))),
        ("since:2h", JobFilter(since=NOW - timedelta(hours=2))),
        ("until:2026-11-30T09:00+01:00", JobFilter(until=datetime(2026, 11, 30, 8, tzinfo=UTC))),
    ],
)
def test_a_search_becomes_this_filter(text, which):
    found = read(text, NOW)
    assert (found.which, found.job_id, found.problems) == (which, None, [])


@pytest.mark.parametrize("text", ["1234", "id:1234", "queue:mail 1234"])
def test_a_number_without_a_qualifier_is_the_id_of_a_job(text):
    assert read(text, NOW).job_id == 1234


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("state:ded", "did you mean dead"),
        ("colour:red", "qualifier"),
        ("quue:mail", "did you mean queue"),
        ("id:x", "no job's id"),
        ("id:99999999999999999999", "no job's id"),
        ("since:yesterday", "no time"),
        ("since:9999999999d", "no time"),
        ("worker:me", "id"),
    ],
)
def test_a_part_that_is_not_understood_is_a_problem_and_the_rest_still_counts(text, said):
    found = read(text + " tag:vip", NOW)
    assert found.which.tag == "vip"
    assert len(found.problems) == 1
    assert said in found.problems[0]


def test_a_search_for_a_state_alone_is_not_narrow():
    assert not read("state:dead", NOW).is_narrow
    assert read("state:dead queue:a", NOW).is_narrow


@given(st.text())
def test_any_text_can_be_searched_for(text):
    found = read(text, NOW)
    assert len(found.which.named or "") <= LONGEST


WORDS = st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=20).filter(
    lambda text: text == text.strip()
)
FILTERS = st.builds(
    JobFilter,
    states=st.none() | st.lists(st.sampled_from(STATES), min_size=1, max_size=3, unique=True),
    queue=st.none() | WORDS,
    error=st.none() | WORDS,
    tag=st.none() | WORDS,
    concurrency_key=st.none() | WORDS,
    worker_id=st.none() | st.integers(1, 2**40),
    since=st.none() | st.datetimes(datetime(2001, 1, 1), datetime(2999, 1, 1), timezones=st.just(UTC)),  # noqa: DTZ001
)


@given(FILTERS)
def test_a_filter_that_is_written_as_a_search_and_read_again_is_the_same_filter(which):
    text = written(which)
    if len(text) <= LONGEST:
        assert read(text, NOW).which == which


@pytest.mark.parametrize("word", MEANT)
def test_a_search_and_a_command_know_the_same_words_of_other_systems(word):
    assert read(f"state:{word}", NOW).which.states == list(states_of(MEANT[word]))
    with pytest.raises(InvalidOptionError, match=f"did you mean {MEANT[word]}\\?"):
        gathered(state=[word])


@pytest.mark.parametrize("word", STATE_WORDS)
def test_a_search_a_command_and_a_request_mean_the_same_states(word):
    states = list(states_of(word))
    assert states
    assert read(f"state:{word}", NOW).which.states == states
    assert gathered(state=[word]).states == states
    assert Listing(state=[word]).state == states


def gathered(**chosen: object) -> JobFilter:
    return _filter("", {**dict.fromkeys(OPTIONS), **chosen})
