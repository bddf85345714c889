"""Compares limits with a simple model: no limit is ever exceeded, and every job that is allowed to run can be claimed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from psycopg import Connection

from pgqueue.database import statements
from pgqueue.database.run import run
from pgqueue.model.outcome import COMPLETED, Outcome
from pgqueue.worker.attempt import Attempt
from tests.factories import add_jobs, add_limit
from tests.worker_by_hand import LimitedHand

KEYS, TASKS = ("a", "b", "c"), ("t", "u")

WAYS = ("", *KEYS, None)  # a text: claim by turns and begin after this key. None: claim jobs without keys

# A test draws some limits, and a list of moves. A move is (verb, parameters): it adds jobs, claims, ends an attempt, and so on.
limits = st.fixed_dictionaries(
    {"queue": st.sampled_from([None, "default"]), "task": st.sampled_from([None, *TASKS]), "per_key": st.booleans(),
     "concurrency": st.integers(1, 4)}
)  # fmt: skip

jobs = st.one_of(
    st.tuples(
        st.sampled_from(KEYS),
        st.sampled_from(TASKS),
        st.integers(1, 3),
        st.sampled_from([None, None, "skip", "block"]),
    ),
    st.tuples(st.none(), st.sampled_from(TASKS), st.integers(1, 3), st.none()),
)

moves = st.lists(
    st.one_of(
        st.tuples(st.just("add"), st.lists(jobs, min_size=1, max_size=6)),
        st.tuples(st.just("take"), st.integers(0, 1), st.integers(1, 8), st.sampled_from(WAYS)),
        st.tuples(st.just("end"), st.sampled_from(["complete", "retry", "die", "snooze", "limited"]), st.integers(0, 20)),
        st.tuples(st.just("crash"), st.integers(0, 1)),
        st.tuples(st.just("park"), st.sampled_from(TASKS)),
        st.tuples(st.just("resize"), st.integers(0, 9), st.integers(1, 4)),
    ),
    min_size=4, max_size=25,
)  # fmt: skip


class Model:
    """Applies the rules of limits to the stored rows. The rules are written as a person would state them."""

    def __init__(self, db: Connection[Any]) -> None:
        self.limits = db.execute(
            "select id, queue, task, per_key, concurrency from pgqueue.limits"
        ).fetchall()
        self.live = db.execute(
            "select id, concurrency_key, task, coalesce(weight, 1), ordering, state, run_at <= now() from pgqueue.jobs_live"
        ).fetchall()
        self.paused = dict(db.execute("select task || key, until from pgqueue.pauses").fetchall())
        self.dead = db.execute("select id, concurrency_key, ordering from pgqueue.jobs_dead").fetchall()

    def used(self) -> Counter[tuple[int, str]]:
        found: Counter[tuple[int, str]] = Counter()
        for _, key, task, weight, _, state, _ in self.live:
            if state == "running":
                for number, _, of, per_key, concurrency in self.limits:
                    if of in (None, task) and (key or not per_key):
                        found[number, key if per_key else ""] += min(weight, concurrency)
        return found

    def may_run(self, job: Any) -> bool:
        number, key, task, weight, ordering, state, due = job
        if state not in ("pending", "retrying") or not due or (key or task) in self.paused:
            return False
        if ordering and any(j[0] < number and j[1] == key and j[4] for j in self.live):
            return False
        if ordering and any(d[0] < number and d[1] == key and d[2] == "block" for d in self.dead):
            return False
        used = self.used()
        return all(
            used[limit_id, key if per_key else ""] + min(weight, concurrency) <= concurrency
            for limit_id, _, of, per_key, concurrency in self.limits
            if of in (None, task) and (key or not per_key)
        )


@settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(chosen=st.lists(limits, max_size=3), played=moves)
def test_no_limit_is_exceeded_and_every_job_that_is_allowed_to_run_is_claimed(  # noqa: PLR0912 - one branch for each move
    db: Connection[Any], chosen: list[dict[str, Any]], played: list[Any]
) -> None:
    db.execute("truncate pgqueue.jobs, pgqueue.limits, pgqueue.seats, pgqueue.pauses, pgqueue.workers")
    seen = set()
    for each in chosen:
        if (each["queue"], each["task"], each["per_key"]) not in seen:
            seen.add((each["queue"], each["task"], each["per_key"]))
            add_limit(db, **each)
    players = [LimitedHand(db, list(TASKS)), LimitedHand(db, list(TASKS))]
    running: list[tuple[int, Attempt]] = []
    resized = False
    for verb, *how in played:
        if verb == "add":
            for key, task, weight, ordering in how[0]:
                add_jobs(db, key, task, weight=weight, ordering=ordering)
        elif verb == "take":
            who, count, after = how
            running += [(who, attempt) for attempt in players[who].take(count, after=after)]
        elif verb == "end" and running:
            who, attempt = running.pop(how[1] % len(running))
            end(players[who], attempt, how[0])
        elif verb == "crash":
            db.execute(
                "update pgqueue.workers set expires_at = now() - interval '1 s' where id = %s",
                [players[how[0]].id],
            )
            run(db, statements.rescue(100, 1000))
            running = [item for item in running if item[0] != how[0]]
            players[how[0]] = LimitedHand(db, list(TASKS))
        elif verb == "park":
            db.execute(
                "update pgqueue.jobs_live set parked = true where task = %s and concurrency_key is null", how
            )
        elif verb == "resize" and chosen:
            resized = True
            db.execute(
                "update pgqueue.limits set concurrency = %s where id = (select max(id) - %s %% count(*) from pgqueue.limits)",
                [how[1], how[0]],
            )
        model = Model(db)
        assert run(db, statements.recount_seats()) == []
        if not resized:
            for (number, _), weight in model.used().items():
                assert weight <= next(limited[4] for limited in model.limits if limited[0] == number)
    # Liveness: when claims find no more jobs, no job is left that is allowed to run.
    while more := players[0].take(3) + players[0].take(3, after=None):
        running += [(0, attempt) for attempt in more]
    model = Model(db)
    # No lighter job overtakes a heavy job that waits for seats, so this is checked only if all jobs have the weight 1.
    if not resized and all(job[3] == 1 for job in model.live):
        assert not [job for job in model.live if model.may_run(job)]
    # When all attempts have ended, all jobs have run, except those that a dead job blocks.
    db.execute("delete from pgqueue.pauses")
    db.execute("update pgqueue.jobs_live set run_at = now() where state = 'pending'")
    running += [(0, attempt) for attempt in players[0].take(5) + players[0].take(5, after=None)]
    while running:
        for who, attempt in running:
            end(players[who], attempt, "complete")
        running = [(0, attempt) for attempt in players[0].take(5) + players[0].take(5, after=None)]
    model = Model(db)
    blocking = {d[1] for d in model.dead if d[2] == "block"}
    assert [job for job in model.live if not (job[4] and job[1] in blocking)] == []


def end(player: LimitedHand, attempt: Attempt, how: str) -> None:
    outcomes: dict[str, Callable[[], Outcome]] = {
        "complete": lambda: COMPLETED,
        "retry": lambda: Outcome.retried(0.0, ValueError("x")),
        "die": lambda: Outcome.dead("permanent_error", ValueError("x")),
        "snooze": lambda: Outcome.snoozed(0.0),
        "limited": lambda: Outcome.rate_limited(3600.0),
    }
    assert player.settle(attempt, outcomes[how]())
