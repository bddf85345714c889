"""How the items that fail are told from those that do not, without a database."""

from __future__ import annotations

import asyncio
from typing import Any

import psycopg
import pytest

from pgqueue.database.sifting import make_dead, pass_over, sift
from tests.failing_rows import PASSING


def test_what_may_be_everybodys_fault_buries_nobody() -> None:
    class Broken(psycopg.errors.InternalError_):
        sqlstate = "XX000"

    async def fails(_part: Any) -> list[int]:
        raise Broken

    async def give_up(item: int, _error: Exception) -> None:
        pytest.fail(f"{item} was given up")

    with pytest.raises(Broken):
        asyncio.run(sift([1, 2, 3], fails, give_up))


@pytest.mark.parametrize("state", ["57P01", "57P03", "08006", "53300"])
def test_a_lost_server_is_no_rows_fault_and_nothing_is_tried_on_parts(state: str) -> None:
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
def test_what_every_row_fails_with_is_learnt_from_a_few(state: str) -> None:
    tried = []

    async def fails(part: Any) -> list[int]:
        tried.append(part)
        raise psycopg.errors.lookup(state)

    async def give_up(item: int, _error: Exception) -> None:
        pytest.fail(f"{item} was given up")

    with pytest.raises(psycopg.errors.lookup(state)):
        asyncio.run(sift(range(500), fails, give_up))
    assert len(tried) < 10


def test_many_rows_that_a_trigger_refuses_are_given_up_in_several_goes() -> None:
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
            done = []  # it tried no item that succeeds
        items = [item for item in items if item not in done and item not in given_up]
        assert all(item % 5 for item in done)
        if len(goes) > 1000 or not any(n % 5 for n in items):
            break
    assert len(goes) > 2
    assert all(item % 5 == 0 for item in items + given_up)


def test_what_was_never_tried_is_no_success_of_others() -> None:
    given_up = []

    async def fails(part: Any) -> list[int]:
        if len(part) > 1 or part[0] % 2:
            raise psycopg.errors.InsufficientPrivilege
        raise psycopg.errors.NumericValueOutOfRange

    async def give_up(item: int, _error: Exception) -> None:
        given_up.append(item)

    for _ in range(10):  # which items are tried first is random
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            asyncio.run(sift(range(100), fails, give_up))
    assert given_up
    assert not any(item % 2 for item in given_up)


def test_a_part_that_found_nothing_to_do_is_no_success_of_others() -> None:
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
def test_an_error_that_may_pass_gives_up_no_item(code: str) -> None:
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


def test_each_thing_that_is_said_of_a_job_is_said_once_for_each_database(
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
    assert caplog.text.count("job 7 is passed over") == caplog.text.count("could not be made dead") == 2


@pytest.mark.parametrize("bad", [{0}, {6}, {1, 2}, set(range(7))], ids=str)
def test_whichever_items_fail_the_others_are_done_once_in_order(bad: set[int]) -> None:
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
