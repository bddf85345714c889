"""Imitates a link to a database. The answers to statements come from a script, and all statements that were sent are kept in a list."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

from pgqueue.database.outage import ConnectionLost
from pgqueue.sql import Row, Statement

T = TypeVar("T")

Rows = Sequence[Row]
# The answer to a statement: rows, an error that is raised, or a function that gets the statement and returns rows or an error.
Answer = Rows | Exception | Callable[[Statement[Any]], Rows | Exception]


class FakeLink:
    """``script``: for the name of each statement, its answers in order. The last answer is repeated. A statement without answers gets no rows.

    The statement itself decodes the rows, as it decodes the rows of a server. ``sent`` has all statements that were sent, oldest first.
    """

    def __init__(self, script: Mapping[str, Sequence[Answer]] | None = None, *, limit: float = 60.0) -> None:
        self.limit = limit
        self.sent: list[Statement[Any]] = []
        self.lost_with: list[BaseException] = []  # the errors after which the connection was given up
        self.waits_until_back = 0
        self.is_closed = False
        self._script = {name: deque(answers) for name, answers in (script or {}).items()}

    def answer(self, name: str, *answers: Answer) -> None:
        """Gives this statement these answers from now on."""
        self._script[name] = deque(answers)

    @property
    def names(self) -> list[str]:
        return [statement.name for statement in self.sent]

    def parameters(self, name: str) -> list[Mapping[str, object]]:
        """Returns the parameters of the statement for each time that it was sent."""
        return [statement.parameters for statement in self.sent if statement.name == name]

    # ------------------------------------------------------------- the methods of a Link

    async def once(self, statement: Statement[T]) -> T:
        self.sent.append(statement)
        answers = self._script.get(statement.name) or deque([()])
        answer = answers.popleft() if len(answers) > 1 else answers[0]
        if callable(answer):
            answer = answer(statement)
        if isinstance(answer, Exception):
            raise answer
        return statement.decode(answer)

    async def run(self, statement: Statement[T]) -> T:
        while True:
            try:
                return await self.once(statement)
            except ConnectionLost:
                if len(self._script[statement.name]) == 1:
                    raise AssertionError(f"{statement.name} has no answer after a lost connection") from None

    async def connection(self) -> Any:
        raise ConnectionLost("there is no database")

    async def wait_until_back(self) -> None:
        self.waits_until_back += 1

    async def lost(self, error: BaseException) -> None:
        self.lost_with.append(error)

    def cut(self) -> None:
        pass

    async def close(self) -> None:
        self.is_closed = True


def claimed_row(job_id: int, queue: str = "default", priority: int = 0, run_at: float = 100.0) -> list[Any]:
    """Returns a row as ``claim.sql`` returns it."""
    return [job_id, 1, queue, priority, "t", "{}", 1, 20, 0, None, run_at, run_at, None, None, None]


def turn_row(job_id: int, key: str, place: int, front: str = "f", *, priority: int = 0) -> list[Any]:
    """Returns a row as ``claim_limited.sql`` returns it."""
    return [*claimed_row(job_id, priority=priority)[:-1], key, key, place, front]


def lane_row(queue: str = "default", priority: int = 0, due_in: float = -1.0) -> tuple[Any, ...]:
    """Returns a row of ``survey_lanes.sql``: a lane with jobs."""
    return queue, priority, due_in, "lane", None


def turns_row(queue: str = "default", priority: int = 0, front: str = "f") -> tuple[Any, ...]:
    """Returns a row of ``survey_lanes.sql``: a lane whose jobs are claimed by turns."""
    return queue, priority, None, "in_turns", front
