"""The end of a node locks nodes by ascending id, also if other transactions change them while it waits. So ends do not deadlock.

In each test, three transactions act. The first one changes nodes, and keeps its transaction open. Then the node ``a`` or ``y`` ends. It waits
for the first transaction. A third one waits for the node ``c`` in front of it, and then wants the last node ``z``. If the end waits for
``c`` and has locked ``z``, the two wait for each other.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

from psycopg import Connection

from pgqueue.database import statements
from pgqueue.database.run import run
from pgqueue.model.outcome import COMPLETED
from tests.races.two_connections import Act, Players, claim, does, running, settle
from tests.waiting import wait_until
from tests.workflows import DEAD, finish, group, ids, node, states, store, violations

Connect = Callable[..., Connection[Any]]


@contextmanager
def overtaken(players: Players, connect: Connect, first: Act, end: Act, c: int, z: int) -> Iterator[None]:
    """In the block, ``first`` has acted, ``end`` waits for it, and the third transaction waits for ``c``. After the block, all go on."""
    third = connect(autocommit=False)
    locks = "select from pgqueue.nodes where id = %s for update"
    first(players.one)
    with ThreadPoolExecutor(2) as pool:
        ended = pool.submit(end, players.two)
        try:
            wait_until(lambda: is_waiting(players, players.two))
            is_behind = pool.submit(third.execute, locks, [c])
            wait_until(lambda: is_waiting(players, third))
            yield
            players.one.commit()
            wait_until(lambda: is_behind.done() or ended.done())
            if is_behind.done():  # if the end is quicker, as on a busy machine now and then, it does not wait for the third transaction
                wait_until(lambda: is_waiting(players, players.two) or ended.done())
                if not ended.done():
                    third.execute(f"{locks} nowait", [z])
                third.rollback()
            ended.result(timeout=20)
            players.two.commit()
            is_behind.result(timeout=20)
        finally:
            # If something failed, a statement can wait for a transaction that never ends. Then the pool would never end either.
            for connection in (players.two, third):
                connection.cancel_safe()
        third.rollback()


def is_waiting(players: Players, connection: Connection[Any]) -> bool:
    [(is_blocked,)] = players.db.execute(
        "select cardinality(pg_blocking_pids(%s)) > 0", [connection.info.backend_pid]
    )
    return bool(is_blocked)


def test_an_end_that_waits_for_a_retry_locks_what_the_retry_opens_in_the_order_of_all_ends(
    players: Players, connect: Connect
) -> None:
    nodes = [node("a"), node("x"), node("b", "a", "x"), node("c", "b"), node("z", "a", "c", when="ended")]
    flow, worker, leases = running(players, *nodes)
    run(players.db, settle(worker, *leases["x"], DEAD))
    assert states(players.db, flow)["c"] == "cancelled"
    job = ids(players.db, flow)
    retries = does(statements.retry_workflow(flow, "x"))
    with overtaken(players, connect, retries, does(settle(worker, *leases["a"], DEAD)), job["c"], job["z"]):
        pass
    ends = {"a": "dead", "x": "pending", "b": "cancelled", "c": "cancelled", "z": "pending"}
    assert states(players.db, flow) == ends
    assert violations(players.db) == {}


def test_an_end_leaves_to_the_leader_a_node_that_another_end_dooms_while_it_waits(
    players: Players, connect: Connect
) -> None:
    nodes = [node("x"), node("y"), node("b", "x", "y"), node("c", "b"), node("z", "y")]
    flow, worker, leases = running(players, *nodes)
    job = ids(players.db, flow)
    edits = connect(autocommit=False)
    run(edits, statements.edit(job["b"], {"priority": 7}))  # so the end of x leaves b to the leader
    dies, completes = (
        does(settle(worker, *leases[name], outcome)) for name, outcome in (("x", DEAD), ("y", COMPLETED))
    )
    with overtaken(players, connect, dies, completes, job["c"], job["z"]):
        edits.commit()
    assert states(players.db, flow)["z"] == "pending"
    finish(players.db)
    ends = {"x": "dead", "y": "completed", "b": "cancelled", "c": "cancelled", "z": "pending"}
    assert states(players.db, flow) == ends
    assert violations(players.db) == {}


def test_a_retry_of_children_locks_nothing_of_theirs_while_it_waits_for_a_node_behind_their_parent(
    players: Players, connect: Connect
) -> None:
    """The nodes behind the parent have smaller ids, because the parent stores its children while it runs."""
    flow, worker, leases = running(players, node("p"), node("z", "p"))
    kids = store(players.db, node("a", task="task"), group("g", "a"))
    run(players.db, statements.adopt_children(kids, leases["p"][0]))
    [claimed] = run(players.db, claim(worker))
    for job_id, lease_id in ((claimed[0], claimed[1]), leases["p"]):
        run(players.db, settle(worker, job_id, lease_id, DEAD))
    locks = "select from pgqueue.nodes where id = %s for update"
    first = ids(players.db, flow)["z"]
    retries = does(statements.retry_workflow(kids, None))
    with players.during(lambda one: one.execute(locks, [first]), retries) as retried:
        assert not retried.done()
        for child in ids(players.db, kids).values():
            players.one.execute(f"{locks} nowait", [child])
    assert retried.result(timeout=20) == 2
    assert states(players.db, flow) == {"p": "pending", "z": "waiting"}
    assert states(players.db, kids) == {"a": "pending", "g": "waiting"}
    assert violations(players.db) == {}
