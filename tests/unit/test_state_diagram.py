"""Tests of the drawing of a job's states in README.md."""

from __future__ import annotations

import re
from pathlib import Path
from typing import get_args, get_type_hints

from pgqueue.model.outcome import Outcome

README = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")
ARROW = re.compile(r"^    (\S+) --> (\S+): (.+)$", re.MULTILINE)
STORED = {"pending", "running", "retrying", "waiting", "completed", "cancelled", "dead"}
drawn = {(before, after): by for before, after, by in ARROW.findall(README)}


def test_the_diagram_contains_every_stored_state_and_no_other() -> None:
    assert {state for arrow in drawn for state in arrow} == STORED | {"[*]"}


def test_the_arrows_from_running_lead_to_the_states_of_all_outcomes() -> None:
    ends = set(get_args(get_type_hints(Outcome)["state"]))
    assert {after for before, after in drawn if before == "running"} == ends


def test_each_word_for_a_change_of_state_occurs_at_an_arrow() -> None:
    verbs = ["claim", "settle", "retry", "snooze", "release", "rescue", "cancel", "revive", "expire"]
    assert [verb for verb in verbs if not any(verb in by for by in drawn.values())] == []
