"""Tests of a claimer without a database: which statements the claimer sends, and how it reacts to their answers."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import psycopg
import pytest

from pgqueue.config import WorkerSettings
from pgqueue.database.outage import ConnectionLost
from pgqueue.runtime.clock import monotonic
from pgqueue.worker.attempt import Attempt
from pgqueue.worker.claiming.claim_size import SMALLEST_CLAIM
from pgqueue.worker.claiming.claimer import Claimer
from pgqueue.worker.claiming.in_flight import InFlight
from pgqueue.worker.claiming.urgent_allowance import URGENT_JOBS, URGENT_LOOK
from pgqueue.worker.claiming.wake_ups import WakeUps
from tests.unit.fake_link import Answer, FakeLink, claimed_row, lane_row, turn_row, turns_row
from tests.waiting import until


class Play:
    """A claimer with its link, and the attempts that it passed on to be run."""

    def __init__(
        self, slots: int = 10, *, ahead: int = 0, settings: Any = None, **script: list[Answer]
    ) -> None:
        settings = {"queues": {"default": None}, "poll": 0.1, "listen": False, **(settings or {})}
        self.link = FakeLink(script)
        self.settings = WorkerSettings(concurrency=slots, **settings)
        self.in_flight = InFlight(slots, self.settings.queues)
        self.taken: list[Attempt] = []
        self.ahead = ahead
        self.claimer = Claimer(
            self.link, self.settings, ["t"], self.in_flight, self.taken.extend, lambda: self.ahead
        )
        self.claimer.worker_id = 7

    @property
    def ids(self) -> list[int]:
        return [attempt.id for attempt in self.taken]

    def claim(self, room: int = 10) -> int:
        """Claims once, as one round of the claimer's loop does."""
        self.claimer._claims.singly.begin_turn()
        return asyncio.run(self.claimer._claim(room))

    def end(self, *attempts: Attempt) -> None:
        self.in_flight.remove(list(attempts))
        self.claimer.make_room()


def test_the_first_claim_surveys_the_lanes_and_then_claims_from_them_by_priority():
    play = Play(
        survey_lanes=[[lane_row(priority=3), lane_row(priority=-1)]],
        claim=[[claimed_row(1, priority=3), claimed_row(2, priority=-1)]],
    )
    assert play.claim() == 2
    assert play.link.names == ["survey_lanes", "claim"]
    [claim] = play.link.parameters("claim")
    assert (claim["worker_id"], claim["priorities"], claim["count"]) == (7, "{-1,3}", 10)
    assert play.ids == [2, 1], "the most urgent job is passed on first"
    assert sorted(play.in_flight.attempts) == [1, 2]
    assert not any(attempt.may_have_seats for attempt in play.taken)


def test_no_claim_is_sent_if_the_survey_finds_no_jobs():
    play = Play()
    assert play.claim() == 0
    assert play.link.names == ["survey_lanes"]


def test_the_second_claim_is_larger_if_the_first_claim_was_fast():
    play = Play(
        2000, survey_lanes=[[lane_row()]], claim=[[claimed_row(n) for n in range(SMALLEST_CLAIM)], []]
    )
    assert play.claim(2000) == SMALLEST_CLAIM
    assert play.claimer._wants_room, "the claim took as many jobs as it had asked for, so there can be more"
    play.claim(1900)
    first, second = (claim["count"] for claim in play.link.parameters("claim"))
    assert first == SMALLEST_CLAIM < second


def test_a_queue_with_a_number_of_slots_is_claimed_separately_up_to_this_number():
    play = Play(
        survey_lanes=[[lane_row("mail"), lane_row("default")]],
        settings={"queues": {"default": None, "mail": 2}},
    )
    play.claim()
    assert [(claim["queues"], claim["count"]) for claim in play.link.parameters("claim")] == [
        ("{default}", 10),
        ("{mail}", 2),
    ]


def test_the_queues_that_fit_a_pattern_are_looked_up_before_the_survey():
    play = Play(match_queues=[[("shop.eu",)]], settings={"queues": {"shop.*": None}})
    play.claim()
    assert play.link.names == ["match_queues", "survey_lanes"]
    assert play.link.parameters("survey_lanes")[0]["gap_queues"] == "{shop.eu}"


def test_the_next_claim_by_turns_goes_on_after_the_key_that_had_the_last_turn():
    play = Play(
        survey_lanes=[[turns_row()]],
        claim_limited=[[turn_row(1, "a", 1, "f2"), turn_row(2, "b", 2, "f2")], []],
    )
    assert play.claim() == 2
    assert play.claimer._has_more, "the claim can have left jobs of the same keys, so another claim follows"
    play.claim(8)
    first, second = play.link.parameters("claim_limited")
    assert (first["after"], first["since"], first["only"]) == ("", "f", None)
    assert (second["after"], second["since"]) == ("b", "f2")
    assert [attempt.may_have_seats for attempt in play.taken] == [True, True]


def test_jobs_that_were_claimed_after_the_lease_had_ended_are_not_run():
    play = Play(survey_lanes=[[lane_row()]])

    def lose(_statement: Any) -> Any:
        play.claimer.worker_id = 0
        return [claimed_row(1)]

    play.link.answer("claim", lose)
    assert play.claim() == 0
    assert (play.taken, len(play.in_flight)) == ([], 0)


def test_the_jobs_of_a_lost_claim_are_found_by_the_next_survey():
    play = Play(
        survey_lanes=[[lane_row()]],
        claim=[ConnectionLost("gone"), [claimed_row(2)]],
        choose_lost_claims=[[(1,)], []],
        find_lost_claims=[[claimed_row(1)]],
    )
    assert play.claim() == 0
    assert play.link.names == [
        "survey_lanes",
        "claim",
        "choose_lost_claims",
        "find_lost_claims",
        "survey_lanes",
    ]
    assert play.link.waits_until_back == 1
    assert play.ids == [1]
    assert play.claim() == 1
    assert play.ids == [1, 2]


def odd_is_refused(statement: Any) -> Any:
    """Answers as a server on which every statement that claims job 2 fails."""
    only = statement.parameters["only"]
    if only == "{}":
        return [turn_row(n, "", n)[:1] + [None] * 14 + ["", n, None] for n in (1, 2, 3)]
    return psycopg.errors.RaiseException("odd") if "2" in only else [
        turn_row(int(n), "", int(n)) for n in only.strip("{}").split(",")
    ]  # fmt: skip


def test_a_job_on_which_a_claim_fails_is_made_dead_and_the_other_jobs_are_claimed():
    refused = psycopg.errors.RaiseException("odd")
    play = Play(
        survey_lanes=[[lane_row()]], claim=[refused], claim_limited=[odd_is_refused], make_dead=[[("t",)]]
    )
    assert play.claim() == 2
    assert sorted(play.ids) == [1, 3]
    assert play.link.names.count("make_dead") == 1
    assert play.claimer._has_more, "the dead job has left room for another job"


def test_if_all_claims_from_a_lane_fail_the_error_is_raised_and_the_lane_is_skipped_for_a_while():
    play = Play(
        survey_lanes=[[lane_row()]], claim=[ValueError("no")], claim_limited=[ValueError("nor in parts")]
    )
    with pytest.raises(ValueError, match="nor in parts"):
        play.claim()
    assert "make_dead" not in play.link.names
    assert play.claim() == 0
    assert play.link.names.count("claim") == 1


def test_claims_look_behind_when_a_long_transaction_ends_even_before_the_usual_time():
    play = Play(survey_lanes=[[lane_row()]], list_open_writers=[[("w", 50.0, 99.0)], []])
    play.claimer._late_commits.next_look_behind = float("inf")

    async def survey(at: float) -> list[tuple[float, int]]:
        play.claimer._late_commits._next_watch = 0.0
        await play.claimer._survey()
        return play.claimer._lanes.cursors.since([("default", 0)])

    async def surveys() -> None:
        cursors = play.claimer._lanes.cursors
        await survey(0.0)
        assert "list_open_writers" not in play.link.names, "no job can be behind a cursor that has not moved"
        for now in (1.0, 2.0, 3.0):
            cursors.advance([(("default", 0), (100.0, 9))], now)
        assert await survey(0.0) == [(100.0, 9)]
        [(since, _)] = await survey(0.0)
        assert 49 < since < 50

    asyncio.run(surveys())
    assert play.link.names.count("list_open_writers") == 2


# ---------------------------------------------------------------- the claimer's loop


def running(play: Play, script: Callable[[], Coroutine[Any, Any, None]]) -> None:
    async def whole() -> None:
        claiming = asyncio.create_task(play.claimer.run())
        async with asyncio.timeout(10):
            await script()
            play.claimer.stop()
            await claiming

    asyncio.run(whole())


def test_a_wake_up_makes_an_idle_claimer_claim_long_before_its_next_poll():
    play = Play(settings={"poll": 60.0})

    async def script() -> None:
        await until(lambda: play.link.names.count("survey_lanes") >= 2)
        await asyncio.sleep(0.01)
        surveys = play.link.names.count("survey_lanes")
        play.link.answer("survey_lanes", [lane_row()])
        play.link.answer("claim", [claimed_row(1)], [])
        play.claimer.wake()
        await until(lambda: play.ids == [1])
        assert play.link.names.count("survey_lanes") - surveys <= 2

    running(play, script)


def test_a_woken_claimer_claims_again_for_an_enqueuer_that_sent_no_wake_up_even_if_the_first_job_ends_meanwhile():
    play = Play(settings={"poll": 60.0})

    def first(_statement: object) -> list[Any]:
        asyncio.get_running_loop().call_later(0.001, play.claimer.look_again)  # as the end of the job does
        return [claimed_row(1)]

    async def script() -> None:
        await until(lambda: play.link.names.count("survey_lanes") >= 2)
        play.link.answer(
            "survey_lanes", [lane_row(due_in=60.0)]
        )  # the lane is known, but its first job is due later
        play.link.answer("claim", first, [], [claimed_row(2)], [])
        play.claimer.wake()
        await until(lambda: play.ids == [1, 2])

    running(play, script)


def test_a_woken_claimer_looks_once_more_for_an_enqueuer_that_commits_late():
    play = Play(settings={"poll": 60.0})
    later: list[object] = []

    def survey(statement: object) -> list[Any]:
        if play.link.names.count("claim") >= 2:
            later.append(statement)
        return [lane_row(due_in=-1.0 if len(later) > 1 else 60.0)]

    async def script() -> None:
        await until(lambda: play.link.names.count("survey_lanes") >= 2)
        play.link.answer("survey_lanes", survey)
        play.link.answer("claim", [claimed_row(1)], [], [claimed_row(2)], [])
        before = play.link.names.count("claim")
        assert before == 0
        play.claimer.wake()
        await until(lambda: play.ids == [1, 2])

    running(play, script)


def test_a_wake_up_at_the_end_of_a_sleep_is_not_taken_for_the_one_before(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    wake_ups = WakeUps()
    wake_ups.note_job()

    async def sleep(_seconds: float) -> bool:
        wake_ups.note_job()
        return False

    monkeypatch.setattr(wake_ups, "sleep", sleep)
    asyncio.run(wake_ups.sleep_until_claim())
    assert wake_ups.is_claim_expected


def test_an_idle_claimer_finds_a_job_at_its_next_poll_if_no_wake_up_comes():
    play = Play(settings={"poll": 0.1})

    async def script() -> None:
        await until(lambda: play.link.names.count("survey_lanes") >= 2)
        play.link.answer("survey_lanes", [lane_row()])
        play.link.answer("claim", [claimed_row(1)], [])
        await until(lambda: play.ids == [1])

    running(play, script)


def test_a_freed_slot_is_filled_immediately_if_the_last_claim_left_jobs():
    play = Play(
        1,
        survey_lanes=[[lane_row()]],
        claim=[[claimed_row(1)], [claimed_row(2)], []],
        settings={"poll": 60.0},
    )

    async def script() -> None:
        await until(lambda: play.ids == [1])
        play.end(play.taken[0])
        await until(lambda: play.ids == [1, 2])

    running(play, script)


def test_a_worker_without_room_claims_only_more_urgent_jobs_up_to_its_allowance():
    play = Play(
        1, ahead=1, survey_lanes=[[lane_row(priority=0), lane_row(priority=-9)]],
        claim=[[claimed_row(1), claimed_row(2)], [claimed_row(3, priority=-9)], [claimed_row(4, priority=-9)]],
    )  # fmt: skip

    async def script() -> None:
        await until(lambda: len(play.link.parameters("claim")) >= 3)

    running(play, script)
    ordinary, first, second, *_ = play.link.parameters("claim")
    assert (ordinary["priorities"], ordinary["count"]) == ("{-9,0}", 2)
    assert (first["priorities"], first["count"]) == ("{-9}", URGENT_JOBS)
    assert (second["priorities"], second["count"]) == ("{-9}", URGENT_JOBS - 1)


def test_jobs_that_end_without_making_room_do_not_delay_the_search_for_urgent_jobs():
    play = Play(
        2, ahead=2, survey_lanes=[[lane_row(priority=0), lane_row(priority=-9)]],
        claim=[[claimed_row(n) for n in range(4)], []],
    )  # fmt: skip

    async def script() -> None:
        await until(lambda: len(play.taken) == 4)
        play.ahead = 1
        play.end(play.taken[0])
        before = len(play.link.parameters("claim"))
        enough = monotonic() + 10 * URGENT_LOOK
        while monotonic() < enough:
            play.claimer.make_room()
            await asyncio.sleep(0)
        assert len(play.link.parameters("claim")) > before

    running(play, script)


def test_a_claimer_with_drain_is_drained_when_no_job_is_due_and_none_runs():
    play = Play(
        survey_lanes=[[lane_row()], [lane_row(due_in=60.0)]], claim=[[claimed_row(1)], []], count_unclaimed=[[(0, 0)]],
        settings={"drain": True},
    )  # fmt: skip

    async def script() -> None:
        await until(lambda: play.ids == [1])
        await asyncio.sleep(0.05)
        assert not play.claimer.drained.is_set()
        play.end(play.taken[0])
        await play.claimer.drained.wait()

    running(play, script)
    assert "count_unclaimed" in play.link.names


def test_a_claimer_that_has_stopped_claims_no_more():
    play = Play(survey_lanes=[[lane_row()]], claim=[[claimed_row(1)]])
    play.claimer.stop()
    assert play.claim() == 0
    asyncio.run(play.claimer.run())
    assert "claim" not in play.link.names


def test_the_claimer_logs_a_failed_survey_and_claims_in_the_next_round(caplog):
    play = Play(survey_lanes=[ValueError("a survey failed"), [lane_row()]], claim=[[claimed_row(1)], []])

    async def script() -> None:
        await until(lambda: play.ids == [1])

    running(play, script)
    assert "the claim failed" in caplog.text
