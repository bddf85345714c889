"""Tests of the settler without a database: many outcomes in one statement, lost answers, locked rows and refused outcomes."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest

from pgqueue.database.outage import ConnectionLost, Trouble
from pgqueue.model.outcome import COMPLETED, Outcome
from pgqueue.telemetry.events import subscribed
from pgqueue.telemetry.events.jobs import CommitUnconfirmed, OutcomeLost
from pgqueue.worker import settler as settling
from pgqueue.worker.attempt import Attempt
from pgqueue.worker.ending import OwnCommit
from pgqueue.worker.rare_fields import RareFields
from pgqueue.worker.settler import Settler
from tests import factories
from tests.unit.fake_link import Answer, FakeLink

BOOM = Outcome.dead("given_up", ValueError("x"))
LOST = ConnectionLost("cut")


def attempt(job_id: int) -> Attempt:
    return factories.attempt(job_id, "t")


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Trouble, "after", lambda *_: 0.0)
    monkeypatch.setattr(settling, "LOCKED", 0.0)


@pytest.fixture
def facts() -> Iterator[list[Any]]:
    found: list[Any] = []
    with subscribed(OutcomeLost, found.append), subscribed(CommitUnconfirmed, found.append):
        yield found


def settled(items: list[tuple[Attempt, Outcome]], **script: list[Answer]) -> tuple[FakeLink, list[int]]:
    """Settles the outcomes. Returns the link, and the ids of the jobs in the order in which their slots were freed."""
    link, freed = FakeLink(script), list[int]()

    async def play() -> None:
        settler = Settler(link, lambda attempts: freed.extend(one.id for one in attempts))  # type: ignore[arg-type]
        settler.worker_id = 1
        for item in items:
            settler.add(*item)
        settler.stop()
        async with asyncio.timeout(20):
            await settler.run()

    asyncio.run(play())
    return link, freed


def ours(*ids: int) -> list[tuple[int]]:
    return [(job_id,) for job_id in ids]


def test_outcomes_that_pile_up_are_written_in_one_statement_by_id_and_their_slots_are_freed() -> None:
    link, freed = settled([(attempt(n), COMPLETED) for n in (3, 1, 2)], complete=[ours(1, 2, 3)])
    assert (link.names, freed) == (["complete"], [1, 2, 3])


def test_completions_without_a_result_and_other_outcomes_are_written_in_two_statements() -> None:
    link, freed = settled([(attempt(1), COMPLETED), (attempt(2), BOOM)], complete=[ours(1)], settle=[ours(2)])
    assert (link.names, freed) == (["complete", "settle"], [1, 2])


def node(job_id: int) -> Attempt:
    return factories.attempt(job_id, "t", rare=RareFields(None, None, None, workflow_id=5).text())


def test_completed_nodes_are_written_after_plain_completions_and_by_a_statement_of_their_own() -> None:
    done, large = Outcome.completed("7"), Outcome.completed('"' + "x" * settling.SHORT_RESULT + '"')
    link, freed = settled(
        [(node(1), BOOM), (node(2), done), (node(3), large), (attempt(4), COMPLETED), (node(5), done), (attempt(6), done)],
        complete=[ours(4)], complete_nodes=[ours(2, 5)], settle=[ours(1, 3, 6)],
    )  # fmt: skip
    assert (link.names, freed) == (["complete", "complete_nodes", "settle"], [4, 2, 5, 1, 3, 6])


def test_an_outcome_that_was_not_written_because_its_lease_is_lost_is_reported(facts: list[Any]) -> None:
    _, freed = settled([(attempt(n), COMPLETED) for n in (1, 2)], complete=[ours(2)])
    assert freed == [1, 2]
    assert [(type(fact), fact.job_id, fact.state) for fact in facts] == [(OutcomeLost, 1, "completed")]


@pytest.mark.parametrize(("committed", "fact"), [(ours(1), CommitUnconfirmed), (ours(), OutcomeLost)])
def test_no_lost_lease_is_reported_if_a_child_process_died_after_it_had_completed_the_job(
    committed: list[Any], fact: type[Any], facts: list[Any]
) -> None:
    crashed = Outcome.retried(0.0, OSError("killed by SIGKILL"), crashed=True)
    _, freed = settled([(attempt(1), crashed)], settle=[ours()], find_committed=[committed])
    assert freed == [1]
    assert [type(one) for one in facts] == [fact]


def test_no_lost_outcome_is_reported_after_a_lost_answer(facts: list[Any]) -> None:
    """The first try can have committed. In that case the second try finds no row of this worker, although no lease is lost."""
    link, freed = settled([(attempt(1), COMPLETED)], complete=[LOST, ours()])
    assert (link.names, freed, facts) == (["complete"] * 2, [1], [])


@pytest.mark.parametrize(
    ("written", "committed", "became"),
    [(ours(1), ours(), "not made"), (ours(), ours(1), "made"), (ours(), ours(), "lost")],
)
def test_the_settler_looks_up_and_reports_whether_an_unconfirmed_commit_was_made(
    written: list[Any], committed: list[Any], became: str, facts: list[Any]
) -> None:
    one = attempt(1)
    one.own_commit = OwnCommit.UNCONFIRMED
    _, freed = settled([(one, BOOM)], settle=[written], find_committed=[committed])
    assert freed == [1]
    assert [(type(fact), fact.became) for fact in facts] == [(CommitUnconfirmed, became)]


def test_an_outcome_that_is_refused_makes_its_job_dead_and_the_other_outcomes_are_written() -> None:
    refused = psycopg.errors.UntranslatableCharacter("no")

    def answer(statement: Any) -> Any:
        return refused if '"refuse"' in str(statement.parameters["outcomes"]) else ours(1, 2)

    items = [(attempt(1), Outcome.completed('"fine"')), (attempt(2), Outcome.completed('"refuse"'))]
    link, freed = settled(items, settle=[answer])
    assert sorted(freed) == [1, 2]
    assert "unsettleable" in str(link.parameters("settle")[-1]["outcomes"])


def test_only_outcomes_whose_rows_are_locked_are_written_later() -> None:
    conflict = psycopg.errors.LockNotAvailable("locked")
    link, freed = settled(
        [(attempt(n), COMPLETED) for n in (1, 2)],
        complete=[conflict, ours(1), ours(2)], find_locked=[ours(2), ours()],
    )  # fmt: skip
    assert freed == [1, 2]
    assert link.names == ["complete", "find_locked", "complete", "find_locked", "complete"]


def test_the_settler_ends_only_when_it_is_stopped_and_all_outcomes_are_written() -> None:
    async def play() -> None:
        link = FakeLink({"complete": [ours(1)]})
        settler = Settler(link, lambda _: None)  # type: ignore[arg-type]
        running = asyncio.create_task(settler.run())
        for _ in range(3):
            await asyncio.sleep(0)
        assert not running.done()
        settler.stop()
        settler.add(attempt(1), COMPLETED)
        async with asyncio.timeout(20):
            await running
        assert link.names == ["complete"]

    asyncio.run(play())
