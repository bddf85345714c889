"""The routes about queues and workers."""

from __future__ import annotations

from pgqueue.database import statements
from pgqueue.errors import NotAllowedError
from pgqueue.ui.api.answers import shown_queue, shown_worker
from pgqueue.ui.api.calls import Answer, Call

MOST_QUEUES = 1000


async def list_queues(call: Call) -> Answer:
    async with call.service.reading() as reader:
        found = await reader.ask(statements.count_queues())
    seen = [shown_queue(queue) for queue in found if call.who.may_see(queue.queue)]
    return Answer({"items": seen[:MOST_QUEUES]})


async def list_workers(call: Call) -> Answer:
    if not call.who.sees_all:
        raise NotAllowedError(
            f"{call.who.name} may not list workers.",
            why="it may see only some queues, and workers name all of theirs",
        )
    async with call.service.reading() as reader:
        found = await reader.ask(statements.list_workers(ended=False))
    return Answer({"items": [shown_worker(worker) for worker in found]})
