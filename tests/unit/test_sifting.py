"""``sift`` runs a function on many items, and finds the items on which it fails. These tests need no database."""

from __future__ import annotations

import asyncio
from typing import Any

import psycopg
import pytest

from pgqueue.database.sifting import make_dead, pass_over, sift
from tests.failing_rows import PASSING


def test_no_item_is_given_up_if_every_item_fails_with_an_error_that_no_value_causes() -> None:
    class Broken(psycopg.errors.InternalError_):
        sqlstate = "XX000"

    async def fails(_part: Any) -> list[int]:
        raise Broken

    async def give_up(item: int, _error: Exception) -> None:
        pytest.fail(f"{item} was given up")

    with pytest.raises(Broken):
        asyncio.run(sift([1, 2, 3], fails, give_up))


@pytest.mark.parametrize("state", ["57P01", "57P03", "08006", "53300"])
def test_the_items_are_not_tried_in_parts_if_the_server_was_lost(state: str) -> None:
    tried = []

    async def fails(part: Any) -> list[int]:
        tried.append(part)
        raise psycopg.errors.lookup(state)

    async def give_up(item: int, _error: Exception) -> None:
        pytest.fail(f"{item} was given up")

    with pytest.raises(psycopg.Error):
        asyncio.run(sift([1, 2, 3], fails, give_up))
    assert tried == [[1, 2, 3]]


@pytest.mark.parametrize("state", ["42501", "55000", "40P01", "25006", "53100"])
def test_an_error_that_every_item_has_is_recognised_after_a_few_tries(state: str) -> None:
    tried = []

    async def fails(part: Any) -> list[int]:
        tried.append(part)
        raise psycopg.errors.lookup(state)

    async def give_up(item: int, _error: Exception) -> None:
        pytest.fail(f"{item} was given up")

    with pytest.raises(psycopg.errors.lookup(state)):
        asyncio.run(sift(range(500), fails, give_up))
    assert len(tried) < 10


def test_many_items_that_a_trigger_refuses_are_given_up_in_several_calls() -> None:
    items, given_up, goes = list(range(500)), [], []

    async def does(part: Any) -> list[int]:
        if any(n % 5 == 0 for n in part):
            raise psycopg.errors.InsufficientPrivilege
        return list(part)

    async def give_up(item: int, _error: Exception) -> None:
        given_up.append(item)

    while items:
        goes.append(len(items))
        try:
            done = asyncio.run(sift(items, does, give_up))
        except psycopg.errors.InsufficientPrivilege:
            done = []  # by chance, this call tried no item that succeeds
        items = [item for item in items if item not in done and item not in given_up]
        assert all(item % 5 for item in done)
        if len(goes) > 1000 or not any(n % 5 for n in items):
            break
    assert len(goes) > 2
    assert all(item % 5 == 0 for item in items + given_up)


def test_items_that_were_never_tried_do_not_count_as_successes() -> None:
    given_up = []

    async def fails(part: Any) -> list[int]:
        if len(part) > 1 or part[0] % 2:
            raise psycopg.errors.InsufficientPrivilege
        raise psycopg.errors.NumericValueOutOfRange

    async def give_up(item: int, _error: Exception) -> None:
        given_up.append(item)

    for _ in range(10):  # the items that are tried first are chosen at random
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            asyncio.run(sift(range(100), fails, give_up))
    assert given_up
    assert not any(item % 2 for item in given_up)


def test_a_call_that_does_nothing_with_its_items_does_not_count_as_a_success() -> None:
    async def does(part: Any) -> list[int]:
        if 0 in part:
            raise psycopg.errors.InsufficientPrivilege
        return []

    async def give_up(item: int, _error: Exception) -> None:
        pytest.fail(f"{item} was given up")

    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        asyncio.run(sift([0, 1], does, give_up))


@pytest.mark.parametrize(
    "code", ["42501", "P0001", "40001", "57014", "55P03", "55000", "53100", "58030", "25006"]
)
def test_an_item_with_a_temporary_error_is_left_for_later_and_not_given_up(code: str) -> None:
    given_up, left = [], []

    async def does(part: Any) -> list[int]:
        if 0 in part:
            raise psycopg.errors.lookup(code)
        return list(part)

    async def give_up(item: int, _error: Exception) -> None:
        given_up.append(item)

    async def leave(item: int, _error: Exception) -> None:
        left.append(item)

    assert sorted(asyncio.run(sift(range(7), does, give_up, leave))) == [1, 2, 3, 4, 5, 6]
    assert (given_up, left) == (([], [0]) if code in PASSING else ([0], []))


def test_each_log_line_about_a_failing_job_is_written_once_for_each_database(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def one(_statement: Any) -> None:
        raise psycopg.errors.RaiseException

    async def another(_statement: Any) -> None:
        raise psycopg.errors.RaiseException

    for _ in range(2):
        for send in (one, another):
            pass_over(send, 7, psycopg.errors.LockNotAvailable())
            asyncio.run(make_dead(send, 7, 0, ValueError()))
    assert caplog.text.count("job 7 is left out") == caplog.text.count("could not be made dead") == 2


@pytest.mark.parametrize("bad", [{0}, {6}, {1, 2}, set(range(7))], ids=str)
def test_the_items_that_do_not_fail_are_done_once_and_in_order(bad: set[int]) -> None:
    done, given_up = [], []

    async def does(part: Any) -> list[int]:
        if bad & set(part):
            raise psycopg.errors.NumericValueOutOfRange
        done.extend(part)
        return list(part)

    async def give_up(item: int, _error: Exception) -> None:
        given_up.append(item)

    found = asyncio.run(sift(range(7), does, give_up))
    assert found == done == [n for n in range(7) if n not in bad]
    assert given_up == sorted(bad)
