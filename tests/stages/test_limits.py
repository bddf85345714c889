"""Limits and keys by hand: what may run, runs; nothing more; whoever had a seat gives it back; a key's turn comes."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from psycopg import Connection
from psycopg.errors import CheckViolation

from pgqueue import App
from pgqueue.database import statements
from pgqueue.database.run import run
from pgqueue.errors import InvalidOptionError
from pgqueue.model.outcome import COMPLETED, Outcome
from pgqueue.worker.attempt import Attempt, HeldLease
from tests.waiting import wait_until
from tests.worker_by_hand import Hand

SEATS = "select limit_id, key, taken from pgqueue.seats where taken > 0 order by 1, 2"


class Player(Hand):
    """A worker's hand that claims by turns and under limits."""

    def take(self, count: int = 100, *, after: str | None = "", priority: int = 0) -> list[Attempt]:
        lane = (self.queue, priority)
        found = run(self.db, statements.claim_limited(self.id, self.tasks, lane, after, count))
        return [Attempt(self.id, row) for row in found.rows]

    def complete(self, *attempts: Attempt) -> None:
        items = sorted((attempt.id, attempt.lease_id, True) for attempt in attempts)
        assert len(run(self.db, statements.complete(self.id, items))) == len(attempts)


@pytest.fixture
def player(db: Connection[Any]) -> Player:
    return Player(db, ["t", "u"])


def limit(db: Connection[Any], **columns: Any) -> int:
    names = ", ".join(columns)
    values = ", ".join(f"%({name})s" for name in columns)
    text = f"insert into pgqueue.limits ({names}) values ({values}) returning id"
    [(number,)] = db.execute(text.encode(), columns)
    return int(number)


def add(
    db: Connection[Any], key: str | None = None, task: str = "t", count: int = 1, **columns: Any
) -> list[int]:
    given = {"task": task, "concurrency_key": key, "count": count, **columns}
    names = ", ".join(name for name in given if name != "count")
    values = ", ".join(f"%({name})s" for name in given if name != "count")
    text = (
        f"insert into pgqueue.jobs ({names}) select {values} from generate_series(1, %(count)s) returning id"
    )
    return [number for (number,) in db.execute(text.encode(), given)]


def keys_of(db: Connection[Any], attempts: list[Attempt]) -> Counter[str]:
    rows = db.execute(
        "select concurrency_key from pgqueue.jobs where id = any(%s)", [[attempt.id for attempt in attempts]]
    )
    return Counter(key for (key,) in rows)


def test_jobs_with_keys_are_left_to_the_turns(db: Connection[Any], player: Player) -> None:
    [keyed], [plain] = add(db, "a"), add(db)
    assert [attempt.id for attempt in player.claim()] == [plain]
    assert [attempt.id for attempt in player.take()] == [keyed]


def test_keys_take_turns_however_long_their_backlogs_are(db: Connection[Any], player: Player) -> None:
    add(db, "big", count=1000)
    for key in ("a", "b", "c"):
        add(db, key, count=2)
    first = player.take(8)
    assert keys_of(db, first) == {"a": 2, "b": 2, "c": 2, "big": 2}
    assert keys_of(db, player.take(8)) == {"big": 8}


def test_a_large_claim_takes_a_few_of_each_key_and_no_more_than_its_limit(
    db: Connection[Any], player: Player
) -> None:
    for key in range(150):
        add(db, f"k{key:03}", count=6)
    taken = keys_of(db, player.take(400))
    assert taken == {f"k{key:03}": 4 for key in range(100)}
    limit(db, per_key=True, concurrency=2)
    taken = keys_of(db, player.take(400, after="k099"))
    assert taken == {f"k{key:03}": 2 for key in range(150)}, (
        "what ran before the limit was set is not counted"
    )


def test_a_round_goes_on_behind_the_key_that_was_last(db: Connection[Any], player: Player) -> None:
    for key in "abcdef":
        add(db, key, count=5)
    assert keys_of(db, player.take(2)) == {"a": 1, "b": 1}
    assert keys_of(db, player.take(2, after="b")) == {"c": 1, "d": 1}
    assert keys_of(db, player.take(4, after="d")) == {"e": 1, "f": 1, "a": 1, "b": 1}


def test_no_more_of_a_key_run_than_its_limit_and_each_end_lets_one_more_in(
    db: Connection[Any], player: Player
) -> None:
    number = limit(db, per_key=True, concurrency=2)
    limit(db, per_key=True, key="vip", concurrency=3)
    for key in ("a", "b", "vip"):
        add(db, key, count=5)
    running = player.take()
    assert keys_of(db, running) == {"a": 2, "b": 2, "vip": 3}
    assert player.take() == []
    of_a = [attempt for attempt in running if keys_of(db, [attempt]) == {"a": 1}]
    player.complete(of_a[0])
    player.settle(of_a[1], Outcome.retried(0.0, ValueError("x")))
    again = player.take()
    assert keys_of(db, again) == {"a": 2}
    assert db.execute("select holds from pgqueue.jobs where id = %s", [again[0].id]).fetchone() == (
        [number, 1],
    )


def test_limits_of_a_queue_and_a_task_hold_for_jobs_without_keys(db: Connection[Any], player: Player) -> None:
    limit(db, queue="default", concurrency=4)
    limit(db, task="t", concurrency=1)
    add(db, count=3)
    add(db, task="u", count=9)
    running = player.take(after=None)
    running += player.take(after=None)  # what one limit refused at first took no place under the other
    assert Counter(attempt.task for attempt in running) == {"t": 1, "u": 3}
    assert player.take(after=None) == []
    player.complete(*running)
    assert len(player.take(after=None)) == 4


def test_a_backlog_of_a_full_task_is_parked_and_runs_by_turns(db: Connection[Any], player: Player) -> None:
    number = limit(db, task="t", concurrency=2)
    crowd, others = add(db, count=3000), add(db, task="u", count=3)
    running = player.take(after=None)
    assert [attempt.id for attempt in running] == crowd[:2]
    found = wait_until(lambda: player.take(after=None))  # a claim parks for a tenth of a second at most
    assert [attempt.id for attempt in found] == others
    assert db.execute("select count(*) from pgqueue.jobs where parked").fetchone() == (2998,)
    assert player.take() == []
    assert player.take(after=None) == []
    said = run(db, statements.why(crowd[2]))
    assert said.reason == "limit"
    assert said.sentence.startswith(f"All 2 seats of limit {number} are taken")
    player.settle(running[0], Outcome.retried(0.0, ValueError("x")))
    player.complete(running[1])
    running = player.take()
    assert [attempt.id for attempt in running] == crowd[2:4], "and the one that failed is due after these"
    db.execute("delete from pgqueue.limits")
    assert len(player.take(3000)) == 2996, "parked jobs need no limit to run"
    assert [attempt.id for attempt in player.take(after=None)] == crowd[:1], (
        "it ran when the others were parked"
    )


def test_a_key_with_a_share_has_more_of_each_turn(db: Connection[Any], player: Player) -> None:
    limit(db, per_key=True, key="b", share=3)
    for key in "abc":
        add(db, key, count=50)
    assert keys_of(db, player.take(10)) == {"a": 2, "b": 6, "c": 2}
    assert keys_of(db, player.take(5)) == {"a": 1, "b": 3, "c": 1}


def test_weights_count_and_none_is_overtaken_by_lighter_ones(db: Connection[Any], player: Player) -> None:
    limit(db, queue="default", concurrency=5)
    first = add(db, weight=3) + add(db, weight=4) + add(db, weight=1)
    running = player.take(after=None)
    assert [attempt.id for attempt in running] == first[:1]
    player.complete(*running)
    assert sorted(attempt.id for attempt in player.take(after=None)) == first[1:]


def test_one_that_weighs_more_than_the_limit_runs_alone(db: Connection[Any], player: Player) -> None:
    limit(db, per_key=True, concurrency=2)
    heavy, light = add(db, "k", weight=9), add(db, "k")
    running = player.take()
    assert [attempt.id for attempt in running] == heavy
    player.complete(*running)
    assert [attempt.id for attempt in player.take()] == light


def test_a_limit_is_changed_by_its_row(db: Connection[Any], player: Player) -> None:
    number = limit(db, per_key=True, concurrency=1)
    add(db, "k", count=9)
    running = player.take()
    db.execute("update pgqueue.limits set concurrency = 4 where id = %s", [number])
    running += player.take()
    assert len(running) == 4
    db.execute("update pgqueue.limits set concurrency = 2 where id = %s", [number])
    player.complete(running.pop(), running.pop())
    assert player.take() == []
    player.complete(running.pop())
    assert len(player.take()) == 1
    db.execute("delete from pgqueue.limits")
    assert len(player.take()) == 4


def test_the_plain_claim_leaves_a_lane_under_a_limit_alone(db: Connection[Any], player: Player) -> None:
    """A worker may not know the limit yet, or look for urgent jobs while it has no room."""
    number = limit(db, queue="default", concurrency=1)
    add(db, count=3)
    assert player.claim() == []
    assert len(player.take(after=None)) == 1
    db.execute("update pgqueue.limits set queue = 'other' where id = %s", [number])
    [attempt] = player.claim(1)
    player.settle(attempt, Outcome.rate_limited(60.0))
    assert player.claim() == []


def test_a_changed_rate_counts_at_once(db: Connection[Any], player: Player) -> None:
    limit(db, per_key=True, rate=1, period="1 day")
    add(db, "k", count=5)
    assert len(player.take()) == 1
    assert player.take() == []
    db.execute("update pgqueue.limits set rate = 2, period = '1 s', burst = 2")
    assert len(player.take()) == 2
    assert player.take() == []
    db.execute("update pgqueue.limits set rate = null, period = null, burst = null, concurrency = 9")
    assert len(player.take()) == 2


def test_what_a_heavy_job_wanted_is_forgotten_when_it_is_gone(db: Connection[Any], player: Player) -> None:
    limit(db, queue="default", concurrency=10)
    add(db)
    assert len(player.take(after=None)) == 1
    [heavy] = add(db, weight=10)
    assert player.take(after=None) == []
    db.execute("delete from pgqueue.jobs where id = %s", [heavy])
    add(db, count=5)
    run(db, statements.heal_seats())
    assert len(player.take(after=None)) == 5


def test_a_limit_that_is_removed_while_a_job_runs_under_it_leaves_no_false_alarm(
    db: Connection[Any], player: Player
) -> None:
    limit(db, per_key=True, concurrency=1)
    add(db, "k")
    [attempt] = player.take()
    db.execute("delete from pgqueue.limits")
    player.complete(attempt)
    assert run(db, statements.heal_seats()) == []
    assert db.execute("select * from pgqueue.seats").fetchall() == []


def test_a_rate_beyond_all_clocks_is_refused(db: Connection[Any]) -> None:
    with pytest.raises(CheckViolation):
        limit(db, queue="default", rate=5_000_000, period="1 s")


def test_rescue_gives_the_seats_of_a_dead_worker_back(db: Connection[Any], player: Player) -> None:
    limit(db, per_key=True, concurrency=2)
    add(db, "k", count=3)
    other = Player(db, ["t"])
    assert len(other.take()) == 2
    db.execute("update pgqueue.workers set expires_at = now() - interval '1 s' where id = %s", [other.id])
    assert player.take() == []
    assert len(run(db, statements.rescue(3, 100))) == 2
    assert db.execute(SEATS).fetchall() == []
    assert len(player.take()) == 2


def test_what_slipped_is_counted_anew(db: Connection[Any], player: Player) -> None:
    number = limit(db, per_key=True, concurrency=2)
    add(db, "k", count=3)
    player.take(1)
    assert run(db, statements.heal_seats()) == []
    db.execute("update pgqueue.seats set taken = 2")
    assert [(m.limit_id, m.key, m.counted, m.held) for m in run(db, statements.heal_seats())] == [
        (number, "k", 2, 1)
    ]
    assert len(player.take()) == 1


def test_a_paused_queue_and_an_expired_worker_get_nothing(db: Connection[Any], player: Player) -> None:
    add(db, "k")
    db.execute(
        "insert into pgqueue.queues (name, paused) values ('default', true) on conflict (name) do update set paused = true"
    )
    assert player.take() == []
    db.execute("update pgqueue.queues set paused = false")
    db.execute("update pgqueue.workers set expires_at = now()")
    assert player.take() == []


def test_a_handler_that_is_stopped_at_its_commit_keeps_nobody_from_the_seats(
    db: Connection[Any], player: Player, app: App, monkeypatch: pytest.MonkeyPatch
) -> None:
    @app.task(name="t")
    def t() -> None: ...

    limit(db, queue="default", concurrency=2)
    add(db, "k", count=3)
    [attempt] = player.take(1)
    stopped, go_on = threading.Event(), threading.Event()
    commit = Connection.commit

    def slow(connection: Connection[Any]) -> None:
        stopped.set()
        go_on.wait(20)
        commit(connection)

    def handle() -> None:
        with HeldLease(attempt, app).transaction(None) as connection:
            connection.execute("select 1")
            monkeypatch.setattr(Connection, "commit", slow)

    with ThreadPoolExecutor(1) as pool:
        handler = pool.submit(handle)
        try:
            assert stopped.wait(20)
            db.execute("set lock_timeout = '2s'")
            assert len(player.take()) == 2
        finally:
            go_on.set()
        handler.result(20)
    assert attempt.settled


# ------------------------------------------------------------------ rates


@pytest.mark.parametrize("scope", [{"per_key": True}, {"queue": "default"}])
def test_a_bucket_lets_its_burst_start_and_then_says_when(
    db: Connection[Any], player: Player, scope: dict[str, Any]
) -> None:
    limit(db, rate=1, period="10 min", burst=3, **scope)
    key = "k" if "per_key" in scope else None
    jobs = add(db, key, count=5)
    after = "" if key else None
    assert [attempt.id for attempt in player.take(after=after)] == jobs[:3]
    assert player.take(after=after) == []
    [(free_in,)] = db.execute("select date_part('epoch', free_at - clock_timestamp()) from pgqueue.seats")
    assert free_in == pytest.approx(600, abs=2)
    db.execute("update pgqueue.seats set arrival = arrival - interval '10 min', free_at = clock_timestamp()")
    assert [attempt.id for attempt in player.take(after=after)] == jobs[3:4]


def test_a_sliding_window_is_full_until_its_oldest_start_leaves_it(
    db: Connection[Any], player: Player
) -> None:
    limit(db, rate=2, period="1 hour", sliding=True, per_key=True)
    jobs = add(db, "k", count=4)
    assert [attempt.id for attempt in player.take(1)] == jobs[:1]
    db.execute("update pgqueue.starts set at = at - interval '30 min'")
    assert [attempt.id for attempt in player.take()] == jobs[1:2]
    [(free_in,)] = db.execute("select date_part('epoch', free_at - clock_timestamp()) from pgqueue.seats")
    assert free_in == pytest.approx(1800, abs=2)
    assert player.take() == []
    db.execute("update pgqueue.starts set at = at - interval '30 min'")
    db.execute("update pgqueue.seats set free_at = clock_timestamp()")
    assert [attempt.id for attempt in player.take()] == jobs[2:3]


def test_a_handler_that_is_limited_from_outside_pauses_its_key_and_keeps_its_place(
    db: Connection[Any], player: Player
) -> None:
    jobs, other = add(db, "k", count=3), add(db, "l")
    [first, *_] = player.take(1)
    assert player.settle(first, Outcome.rate_limited(3600.0))
    assert [attempt.id for attempt in player.take()] == other
    said = run(db, statements.why(jobs[1]))
    assert said.reason == "rate"
    assert said.sentence.startswith("Its key k is paused until ")
    assert run(db, statements.lanes([], [], [])).later == pytest.approx(3600, abs=5)
    db.execute("update pgqueue.pauses set until = now()")
    again = player.take()
    assert [(attempt.id, attempt.attempt) for attempt in again] == [(job, 1) for job in jobs]


def test_without_a_key_it_pauses_its_task(db: Connection[Any], player: Player) -> None:
    jobs, others = add(db, count=3), add(db, task="u", count=2)
    [first] = player.claim(1)
    assert player.settle(first, Outcome.rate_limited(3600.0))
    assert run(db, statements.lanes([("default", 0)], [(0.0, 0)], [])).limited == [None]
    assert [attempt.id for attempt in player.take(after=None)] == others
    assert run(db, statements.why(jobs[1])).sentence.startswith("Its task t is paused until ")
    db.execute("update pgqueue.pauses set until = now()")
    assert [attempt.id for attempt in player.take(after=None)] == jobs[1:], "its own time has not come yet"
    run(db, statements.heal_seats())
    assert db.execute("select * from pgqueue.pauses").fetchall() == []


# ------------------------------------------------------------------ order


def test_jobs_in_order_run_one_after_the_other_also_through_retries(
    db: Connection[Any], player: Player
) -> None:
    jobs = add(db, "k", count=3, ordering="block")
    free = add(db, "k")
    running = player.take()
    assert sorted(attempt.id for attempt in running) == [jobs[0], *free]
    [first] = [attempt for attempt in running if attempt.id == jobs[0]]
    assert player.take() == []
    player.settle(first, Outcome.retried(3600.0, ValueError("x")))
    assert player.take() == []
    db.execute("update pgqueue.jobs_live set run_at = now() where id = %s", [jobs[0]])
    [first] = player.take()
    assert first.id == jobs[0]
    player.complete(first)
    assert [attempt.id for attempt in player.take()] == jobs[1:2]


@pytest.mark.parametrize("ordering", ["block", "skip"])
def test_a_dead_job_blocks_or_is_skipped(db: Connection[Any], player: Player, ordering: str) -> None:
    jobs = add(db, "k", count=2, ordering=ordering)
    [first] = player.take()
    player.settle(first, Outcome.dead("permanent_error", ValueError("x")))
    if ordering == "skip":
        assert [attempt.id for attempt in player.take()] == jobs[1:]
    else:
        assert player.take() == []
        why = run(db, statements.why(jobs[1]))
        assert (why.reason, why.do) == ("order", f"pgq jobs retry {jobs[0]}")
        assert run(db, statements.revive(jobs[0])) == "revived"
        [first] = player.take()
        assert first.id == jobs[0]
        player.complete(first)
        assert [attempt.id for attempt in player.take()] == jobs[1:]


def test_an_ordered_job_that_must_wait_keeps_no_other_key_from_its_turn(
    db: Connection[Any], player: Player
) -> None:
    first, second = add(db, "k", count=2, ordering="skip")
    [attempt] = player.take()
    player.settle(attempt, Outcome.dead("permanent_error", ValueError("x")))
    assert [attempt.id for attempt in player.take()] == [second]
    run(db, statements.revive(first))
    [other] = add(db, "z")
    assert [attempt.id for attempt in player.take(1, after="j")] == [other]
    assert player.take() == []


def test_keys_of_two_queues_keep_their_order_apart_however_they_are_called(db: Connection[Any]) -> None:
    add(db, "b:c", ordering="skip", queue="a")
    add(db, "c", ordering="skip", queue="a:b")
    attempts = [Player(db, ["t"], queue).take() for queue in ("a", "a:b")]
    assert [len(taken) for taken in attempts] == [1, 1]
    assert run(db, statements.heal_seats()) == []


def test_order_needs_a_key(app: App) -> None:
    @app.task(name="t")
    def t() -> None: ...

    with pytest.raises(InvalidOptionError, match="without a concurrency_key"):
        t.using(ordering="block")
    with pytest.raises(InvalidOptionError, match="give block or skip"):
        t.using(ordering="strict", concurrency_key="k")
    with pytest.raises(InvalidOptionError, match="from 1 to 1000"):
        t.using(weight=0)


def test_why_tells_of_seats_and_rates(db: Connection[Any], player: Player) -> None:
    number = limit(db, per_key=True, concurrency=1)
    first, second = add(db, "k", count=2)
    player.take()
    said = run(db, statements.why(second))
    assert said.reason == "limit"
    assert said.sentence.startswith(
        f"The only seat of limit {number} for its key k is taken, by job {first} since "
    )
    db.execute("delete from pgqueue.limits")
    number = limit(db, queue="default", rate=1, period="1 hour")
    third, fourth = add(db, count=2)
    assert [attempt.id for attempt in player.take(after=None)] == [third]
    said = run(db, statements.why(fourth))
    assert said.reason == "rate"
    assert said.sentence.startswith(f"Limit {number} lets 1 job start every 1 h; the next start is free at ")
    assert said.until is not None


# ------------------------------------------------------------------ against a model

KEYS, TASKS = ("a", "b", "c"), ("t", "u")
WAYS = ("", *KEYS, None)  # of claiming: after which key, or without one
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
    """The rows as they are, judged by the rules as a person would say them."""

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
def test_whatever_happens_limits_hold_and_what_may_run_runs(  # noqa: PLR0912 - a move a branch
    db: Connection[Any], chosen: list[dict[str, Any]], played: list[Any]
) -> None:
    db.execute("truncate pgqueue.jobs, pgqueue.limits, pgqueue.seats, pgqueue.pauses, pgqueue.workers")
    seen = set()
    for each in chosen:
        if (each["queue"], each["task"], each["per_key"]) not in seen:
            seen.add((each["queue"], each["task"], each["per_key"]))
            limit(db, **each)
    players = [Player(db, list(TASKS)), Player(db, list(TASKS))]
    running: list[tuple[int, Attempt]] = []
    resized = False
    for verb, *how in played:
        if verb == "add":
            for key, task, weight, ordering in how[0]:
                add(db, key, task, weight=weight, ordering=ordering)
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
            players[how[0]] = Player(db, list(TASKS))
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
        assert run(db, statements.heal_seats()) == []
        if not resized:
            for (number, _), weight in model.used().items():
                assert weight <= next(limited[4] for limited in model.limits if limited[0] == number)
    # Liveness: claim until nothing comes any more; then nothing is left that may run.
    while more := players[0].take(3) + players[0].take(3, after=None):
        running += [(0, attempt) for attempt in more]
    model = Model(db)
    if not resized and all(job[3] == 1 for job in model.live):  # none is overtaken by lighter ones
        assert not [job for job in model.live if model.may_run(job)]
    # And once all have ended, everything has run, but for what a dead one blocks.
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


def end(player: Player, attempt: Attempt, how: str) -> None:
    outcomes: dict[str, Callable[[], Outcome]] = {
        "complete": lambda: COMPLETED,
        "retry": lambda: Outcome.retried(0.0, ValueError("x")),
        "die": lambda: Outcome.dead("permanent_error", ValueError("x")),
        "snooze": lambda: Outcome.snoozed(0.0),
        "limited": lambda: Outcome.rate_limited(3600.0),
    }
    assert player.settle(attempt, outcomes[how]())
