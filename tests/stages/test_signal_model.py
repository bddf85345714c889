"""Random orders of signals, waits, time-outs, crashes and cancels, against a model in Python.

Each job has a handler of three waits, which a test plays by hand: it takes a signal, or suspends the job. The model says which signal each
wait gets, and in which state the job is after each act.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from psycopg import Connection

from pgqueue.database import statements
from pgqueue.database.run import run
from pgqueue.model.outcome import COMPLETED, Outcome
from pgqueue.model.steps import TakeSignal
from pgqueue.model.suspension import Request
from pgqueue.worker.attempt import Attempt
from tests.factories import add_jobs, look
from tests.worker_by_hand import Hand

WAITS: tuple[tuple[str, ...], ...] = (("a",), ("b", "a"), ("a", "b"))  # the signals of each wait of a handler
KEYS = ("1", "2", "3")  # the keys of the waits, because two of them have the same first name
JOBS = 2
JOB = st.integers(0, JOBS - 1)
ACTS = st.one_of(
    st.tuples(st.just("signal"), JOB, st.sampled_from(["a", "b", "c"]), st.sampled_from([None, "k", "l"])),
    st.tuples(st.just("run"), JOB),
    st.tuples(st.just("crash"), JOB),
    st.tuples(st.just("time_out"), JOB),
    st.tuples(st.just("sweep"), st.just(0)),
    st.tuples(st.just("cancel"), JOB),
)


@dataclass
class Known:
    """What the model knows of one job. ``ends``: for each wait that is over, the number of its signal, or None after a time-out."""

    signals: list[tuple[int, str]] = field(default_factory=list)  # those that no wait has taken
    used_keys: set[tuple[str, str]] = field(default_factory=set)
    ends: list[int | None] = field(default_factory=list)
    state: str = "pending"
    is_timed: bool = False  # whether the current wait has a time-out that has passed
    has_waited: bool = False  # whether the current wait has a checkpoint

    @property
    def names(self) -> tuple[str, ...]:
        return WAITS[len(self.ends)]


class Game:
    def __init__(self, db: Connection[Any]) -> None:
        self.db = db
        self.hands = [Hand(db, ["t"], f"q{n}") for n in range(JOBS)]  # each job has a queue of its own
        self.ids = [job_id for hand in self.hands for job_id in add_jobs(db, queue=hand.queue)]
        self.known = [Known() for _ in self.ids]
        self.sent = 0

    def signal(self, n: int, name: str, key: str | None) -> None:
        one = self.known[n]
        self.sent += 1
        said = run(self.db, statements.signal(self.ids[n], name, str(self.sent), key))
        if one.state in ("completed", "cancelled"):
            assert said == one.state
            return
        assert said == "sent"
        if key is not None:
            if (name, key) in one.used_keys:
                return
            one.used_keys.add((name, key))
        one.signals.append((self.sent, name))
        if one.state == "waiting" and name in one.names:
            one.state = "pending"

    def run(self, n: int) -> None:
        """Runs the handler until it is suspended or completed."""
        one = self.known[n]
        attempt = self._claimed(n)
        if attempt is None:
            return
        while len(one.ends) < len(WAITS):
            at = len(one.ends)
            if not self._ends(attempt, one):
                self._suspend(attempt, at)
                one.state, one.has_waited = "waiting", True
                return
        assert self._hand(attempt).settle(attempt, COMPLETED)
        one.state = "completed"

    def _ends(self, attempt: Attempt, one: Known) -> bool:
        """Asks for the end of the current wait, and compares it with the model. Returns whether the wait is over."""
        at = len(one.ends)
        expected = next((signal for signal in one.signals if signal[1] in one.names), None)
        end = self._take(attempt, at)
        assert self._take(attempt, at) == end, "the same question gets the same answer"
        if expected is not None:
            assert end == expected[0]
            one.signals.remove(expected)
        elif one.has_waited and one.is_timed:
            assert end is None
        else:
            assert end == "open"
            return False
        one.ends.append(None if expected is None else expected[0])
        one.is_timed = one.has_waited = False
        return True

    def crash(self, n: int) -> None:
        """The attempt fails after its handler has come to one more wait, and before it suspends the job."""
        attempt, one = self._claimed(n), self.known[n]
        if attempt is None:
            return
        if len(one.ends) < len(WAITS):
            self._ends(attempt, one)
        assert self._hand(attempt).settle(attempt, Outcome.retried(0.0, ValueError("x")))
        one.state = "pending"

    def _claimed(self, n: int) -> Attempt | None:
        """Claims this job if it is due."""
        self.db.execute("update pgqueue.jobs_live set run_at = now() where state = 'retrying'")
        if self.known[n].state != "pending":
            return None
        [attempt] = self.hands[n].claim(1)
        assert attempt.id == self.ids[n]
        return attempt

    def _hand(self, attempt: Attempt) -> Hand:
        return next(hand for hand in self.hands if hand.id == attempt.worker_id)

    def _take(self, attempt: Attempt, at: int) -> int | str | None:
        asked = TakeSignal(f"wait:{WAITS[at][0]}", KEYS[at], WAITS[at])
        [taken] = run(
            self.db, statements.take_signals([(attempt.worker_id, attempt.id, attempt.lease_id, asked)])
        )
        if not taken.found:
            return taken.what
        said = json.loads(taken.found[0].value)
        return int(said["signal"]["payload"]) if "signal" in said else None

    def _suspend(self, attempt: Attempt, at: int) -> None:
        request = Request("wait", f"wait:{WAITS[at][0]}", KEYS[at], 3600.0, WAITS[at])
        outcome = Outcome.suspended((request,))
        assert run(self.db, statements.suspend(attempt.worker_id, [(attempt.id, attempt.lease_id, outcome)]))

    def time_out(self, n: int) -> None:
        one = self.known[n]
        if one.state == "waiting":
            self.db.execute("select pgqueue.edit(%s, '{\"delay\": 0}')", [self.ids[n]])
            one.is_timed = True

    def sweep(self, _n: int) -> None:
        woken = set(run(self.db, statements.time_out_waits(10)))
        expected = {n for n, one in enumerate(self.known) if one.state == "waiting" and one.is_timed}
        assert woken == {self.ids[n] for n in expected}
        for n in expected:
            self.known[n].state = "pending"

    def cancel(self, n: int) -> None:
        one = self.known[n]
        said = run(self.db, statements.cancel(self.ids[n]))
        assert said == ("completed" if one.state == "completed" else "cancelled")
        if one.state != "completed":
            one.state = "cancelled"

    def check(self) -> None:
        for job_id, one in zip(self.ids, self.known, strict=True):
            state = look(self.db, job_id)
            assert ("pending" if state == "retrying" else state) == one.state
            [(untaken,)] = self.db.execute(
                "select array_agg(payload::int order by id) from pgqueue.signals where job_id = %s and taken_by is null",
                [job_id],
            ).fetchall()
            assert (untaken or []) == [number for number, _ in one.signals]


def test_signals_and_waits_in_any_order_end_as_the_model_says(db: Connection[Any]) -> None:
    @settings(max_examples=60, deadline=None)
    @given(acts=st.lists(ACTS, min_size=5, max_size=40))
    def play(acts: list[tuple[Any, ...]]) -> None:
        db.execute("truncate pgqueue.jobs, pgqueue.signals, pgqueue.checkpoints, pgqueue.transitions")
        game = Game(db)
        for name, *args in acts:
            act: Callable[..., None] = getattr(game, name)
            act(*args)
            game.check()

    play()
