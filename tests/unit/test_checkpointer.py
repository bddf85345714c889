"""The checkpointer, with a link that answers from a script: many checkpoints in one statement, lost answers, locked and refused rows."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any

import psycopg
import pytest

from pgqueue.database.outage import ConnectionLost, Trouble
from pgqueue.database.sifting import MOST_GIVEN_UP
from pgqueue.errors import LeaseLostError, StepRefusedError
from pgqueue.model.steps import FIRST_LOAD, LOAD, Checkpoint
from pgqueue.runtime.clock import monotonic
from pgqueue.sql import Statement
from pgqueue.worker import checkpointer
from pgqueue.worker.attempt import Attempt
from pgqueue.worker.checkpointer import Checkpointer
from pgqueue.worker.ending import Ending
from tests import factories
from tests.unit.fake_link import FakeLink, Rows

LOST = ConnectionLost("cut")
Items = list[dict[str, Any]]


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Trouble, "after", lambda *_: 0.0)
    monkeypatch.setattr(checkpointer, "LOCKED", 0.0)


def made(name: str = "a", value: str = "1") -> Checkpoint:
    return Checkpoint("step", name, "", 7, value)


def items_of(statement: Statement[Any]) -> Items:
    items: Items = json.loads(str(statement.parameters["items"]))
    return items


def stored(statement: Statement[Any]) -> Rows:
    """The rows of ``store_checkpoints.sql`` if it stores all items."""
    items = items_of(statement)
    leases = {(item["job_id"], item["lease_id"]) for item in items}
    held = [("leased", job, lease, None, None, False) for job, lease in leases]
    return held + [("stored", i["job_id"], i["lease_id"], i["name"], i["key"], None) for i in items]


def there(statement: Statement[Any]) -> Rows:
    return [("leased", i["job_id"], i["lease_id"], None, None, False) for i in items_of(statement)]


class Play:
    """A checkpointer with its link, and what it did to attempts."""

    def __init__(self, **script: list[Any]) -> None:
        self.link = FakeLink(script)
        self.cancelled: list[int] = []
        self.lost: list[Attempt] = []
        self.checkpointer = Checkpointer(self.link, self.cancelled.extend, self.lost.extend)  # type: ignore[arg-type]

    def ask(self, *asked: tuple[Attempt, Any]) -> list[Any]:
        """Asks all questions at the same time. Returns the answers, or the errors in their places."""

        async def play() -> list[Any]:
            running = asyncio.create_task(self.checkpointer.run())
            await asyncio.sleep(0)
            questions = [self.checkpointer.aask(*one) for one in asked]
            async with asyncio.timeout(20):
                answers = await asyncio.gather(*questions, return_exceptions=True)
            running.cancel()
            return answers

        return asyncio.run(play())


def attempts(count: int) -> list[Attempt]:
    return [factories.attempt(number) for number in range(1, count + 1)]


def test_checkpoints_that_come_together_are_stored_by_one_statement_in_the_order_of_jobs() -> None:
    play = Play(store_checkpoints=[stored])
    asked = [(attempt, made()) for attempt in reversed(attempts(5))]
    assert [answer[0].value for answer in play.ask(*asked)] == ["1"] * 5
    [sent] = play.link.sent
    assert [item["job_id"] for item in items_of(sent)] == [1, 2, 3, 4, 5]
    assert all(attempt.has_checkpoint for attempt, _ in asked)


def test_a_batch_has_a_limit_of_items_and_of_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checkpointer, "CHECKPOINTS_AT_ONCE", 3)
    monkeypatch.setattr(checkpointer, "BYTES_AT_ONCE", 100)
    play = Play(store_checkpoints=[stored])
    sizes = [10, 10, 10, 10, 90, 200, 10]
    values = [
        (attempt, made(value=json.dumps("x" * size)))
        for attempt, size in zip(attempts(7), sizes, strict=True)
    ]
    play.ask(*values)
    sent = [sent for sent in play.link.sent if sent.name == "store_checkpoints"]
    assert [len(items_of(one)) for one in sent] == [3, 1, 1, 1, 1]


def test_a_checkpoint_that_comes_alone_is_stored_by_a_cheaper_statement() -> None:
    [attempt] = attempts(1)
    play = Play(store_checkpoint=[[(1,)]])
    [[answer]] = play.ask((attempt, made()))
    assert (answer.value, answer.lease_id, attempt.has_checkpoint) == ("1", attempt.lease_id, True)
    assert play.link.names == ["store_checkpoint"]


def test_a_checkpoint_that_the_cheaper_statement_does_not_store_is_stored_by_the_other_one() -> None:
    play = Play(store_checkpoint=[[]], store_checkpoints=[stored])
    [[answer]] = play.ask((attempts(1)[0], made()))
    assert answer.value == "1"
    assert play.link.names == ["store_checkpoint", "store_checkpoints"]


@pytest.mark.parametrize("has_checkpoint", [False, None])
def test_a_batch_whose_answer_is_lost_is_sent_again_and_finds_its_own_checkpoint(
    has_checkpoint: bool | None,
) -> None:
    """``has_checkpoint`` is None if the handler has saved its place on its own connection before."""
    [attempt] = attempts(1)
    attempt.has_checkpoint = has_checkpoint
    row = (1, "step", "a", "", 7, attempt.lease_id, None, "1", None, None)
    play = Play(store_checkpoint=[LOST, []], store_checkpoints=[there], load_checkpoints=[[row]])
    [[answer]] = play.ask((attempt, made()))
    assert (answer.value, attempt.has_checkpoint) == ("1", True)
    assert play.link.names == ["store_checkpoint"] * 2 + ["store_checkpoints", "load_checkpoints"]


def test_a_checkpoint_of_another_attempt_wins_and_does_not_count_as_new() -> None:
    [attempt] = attempts(1)
    play = Play(
        store_checkpoints=[there], load_checkpoints=[[(1, "step", "a", "", 7, 99, None, "2", None, None)]]
    )
    [[answer]] = play.ask((attempt, made()))
    assert (answer.value, attempt.has_checkpoint) == ("2", False)


def test_a_checkpoint_that_was_forgotten_meanwhile_is_stored() -> None:
    play = Play(store_checkpoints=[there, stored], load_checkpoints=[[]])
    [[answer]] = play.ask((attempts(1)[0], made()))
    assert answer.value == "1"


def test_a_checkpoint_that_the_database_refuses_fails_alone() -> None:
    def refuse(statement: Statement[Any]) -> Rows | Exception:
        if any(item["job_id"] == 3 for item in items_of(statement)):
            return psycopg.errors.UntranslatableCharacter("no such character")
        return stored(statement)

    play = Play(store_checkpoints=[refuse])
    answers = play.ask(*((attempt, made()) for attempt in attempts(5)))
    assert [type(answer) for answer in answers] == [list, list, StepRefusedError, list, list]


def test_the_checkpoints_that_are_not_tried_after_many_refusals_are_tried_again() -> None:
    """``sift`` gives up after MOST_GIVEN_UP rows with an error that no value has caused."""

    def refuse(statement: Statement[Any]) -> Rows | Exception:
        if any(item["job_id"] % 3 == 0 for item in items_of(statement)):
            return psycopg.errors.RaiseException("a trigger refuses it")
        return stored(statement)

    play = Play(store_checkpoints=[refuse])
    answers = play.ask(*((attempt, made()) for attempt in attempts(3 * MOST_GIVEN_UP + 30)))
    wanted = [list, list, StepRefusedError] * (MOST_GIVEN_UP + 10)
    assert [type(answer) for answer in answers] == wanted


def test_a_checkpoint_of_a_locked_job_is_tried_again() -> None:
    def locked(statement: Statement[Any]) -> Rows:
        return [("locked", 1, 1, None, None, None)]

    play = Play(store_checkpoints=[locked, locked, stored])
    [[answer]] = play.ask((attempts(1)[0], made()))
    assert answer.value == "1"
    assert play.link.names.count("store_checkpoints") == 3


def test_an_attempt_without_its_lease_gets_an_error_and_is_stopped() -> None:
    play = Play(store_checkpoints=[[]])
    [attempt] = attempts(1)
    [answer] = play.ask((attempt, made()))
    assert isinstance(answer, LeaseLostError)
    assert play.lost == [attempt]


def test_an_attempt_that_is_lost_while_the_server_is_away_waits_no_longer() -> None:
    [attempt] = attempts(1)

    def lose(_: Statement[Any]) -> Exception:
        attempt.end(Ending.LOST)
        return LOST

    play = Play(store_checkpoint=[lose])
    [answer] = play.ask((attempt, made()))
    assert isinstance(answer, LeaseLostError)
    assert len(play.link.sent) == 1


def test_jobs_that_were_asked_to_stop_are_cancelled() -> None:
    def asked(statement: Statement[Any]) -> Rows:
        return [(*row[:5], True) if row[0] == "leased" and row[1] == 2 else row for row in stored(statement)]

    play = Play(store_checkpoints=[asked])
    play.ask(*((attempt, made()) for attempt in attempts(3)))
    assert play.cancelled == [2]


def test_questions_of_one_job_for_all_its_checkpoints_share_a_statement() -> None:
    [attempt] = attempts(1)
    play = Play(load_checkpoints=[[(1, "step", "a", "", 7, 1, None, "1", None, None)]])
    answers = play.ask(*[(attempt, LOAD)] * 3)
    assert [answer[0].name for answer in answers] == ["a"] * 3
    assert play.link.names == ["load_checkpoints"]


def later(*numbers: int, task: str = "t") -> list[Attempt]:
    """Later attempts of jobs with these ids."""
    made = [factories.attempt(number, task) for number in numbers]
    for attempt in made:
        attempt.lease_id = 2
    return made


def row(job_id: int, name: str = "a", left: float | None = None) -> tuple[Any, ...]:
    """A row of ``load_checkpoints.sql`` and ``load_ahead.sql``."""
    return (job_id, "step", name, "", 7, 1, None, "1", None, left)


def ahead(play: Play, claimed: list[Attempt], *asked: tuple[Attempt, Any], waits: bool = True) -> list[Any]:
    """Claims these attempts, after one of their task has read its checkpoints. Then asks the questions, and returns the answers.

    ``waits``: whether the attempts begin only after their checkpoints were read ahead.
    """

    async def go() -> list[Any]:
        running = asyncio.create_task(play.checkpointer.run())
        await asyncio.sleep(0)
        await play.checkpointer.aask(later(99)[0], FIRST_LOAD)
        play.link.sent.clear()
        if not waits:  # the handlers ask before the checkpointer goes on
            asking = [asyncio.create_task(play.checkpointer.aask(*one)) for one in asked]
        play.checkpointer.load_ahead(claimed)
        if waits:
            await asyncio.sleep(0.01)
            asking = [asyncio.create_task(play.checkpointer.aask(*one)) for one in asked]
        async with asyncio.timeout(20):
            answers = await asyncio.gather(*asking)
        running.cancel()
        return answers

    return asyncio.run(go())


@pytest.mark.parametrize("waits", [True, False])
def test_the_checkpoints_of_jobs_that_are_claimed_together_are_read_by_one_statement(waits: bool) -> None:
    claimed = later(1, 2, 3)
    play = Play(load_ahead=[[row(1), row(1, "b"), row(3)]])
    answers = ahead(play, claimed, *((one, FIRST_LOAD) for one in claimed), waits=waits)
    assert [[one.name for one in answer] for answer in answers] == [["a", "b"], [], ["a"]]
    assert play.link.names == ["load_ahead"]


def test_many_checkpoints_are_read_ahead_by_several_statements(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checkpointer, "AHEAD_AT_ONCE", 2)
    play = Play()
    ahead(play, later(1, 2, 3))
    assert [sent.parameters["ids"] for sent in play.link.sent] == ["{1,2}", "{3}"]


def test_nothing_is_read_ahead_for_first_attempts_and_for_tasks_that_never_read() -> None:
    play = Play()
    ahead(play, [*attempts(2), *later(3, task="other")])
    assert play.link.names == []


def test_only_the_first_question_of_an_attempt_is_answered_by_what_was_read_ahead() -> None:
    [attempt] = later(1)
    play = Play(load_ahead=[[row(1)]], load_checkpoints=[[row(1), row(1, "b")]])
    answers = ahead(play, [attempt], (attempt, LOAD), (attempt, FIRST_LOAD), (attempt, FIRST_LOAD))
    assert [len(answer) for answer in answers] == [2, 1, 2]


@pytest.mark.parametrize("why", [LOST, psycopg.errors.LockNotAvailable("locked"), "too many"])
def test_a_handler_asks_itself_if_its_checkpoints_could_not_be_read_ahead(why: Exception | str) -> None:
    claimed = later(1, 2)
    rows = [row(1, str(n)) for n in range(32)] if isinstance(why, str) else why
    play = Play(load_ahead=[rows], load_checkpoints=[[row(1), row(2)]])
    answers = ahead(play, claimed, *((one, FIRST_LOAD) for one in claimed))
    assert [[one.name for one in answer] for answer in answers] == [["a"], ["a"]]
    assert play.link.names == ["load_ahead", "load_checkpoints"]


def test_what_is_left_of_a_sleep_is_counted_from_the_moment_at_which_it_was_read_ahead() -> None:
    [attempt] = later(1)
    play = Play(load_ahead=[[row(1, left=5.0)]])
    before = monotonic()
    [[slept]] = ahead(play, [attempt], (attempt, FIRST_LOAD))
    assert slept.over_at is not None
    assert before + 5.0 <= slept.over_at <= monotonic() + 5.0


@pytest.mark.parametrize("asks", ["before the end", "after the end"])
def test_at_the_end_of_the_worker_every_attempt_that_waits_gets_an_error(asks: str) -> None:
    play = Play(store_checkpoint=[LOST])

    async def run() -> Any:
        running = asyncio.create_task(play.checkpointer.run())
        await asyncio.sleep(0)
        ask: Callable[[], Any] = lambda: play.checkpointer.ask(attempts(1)[0], made())  # noqa: E731
        if asks == "before the end":
            answer = ask()
            await asyncio.sleep(0.01)
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        return answer if asks == "before the end" else ask()

    assert isinstance(asyncio.run(run()).exception(5), LeaseLostError)
