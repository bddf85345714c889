"""Does what statements that end jobs leave of workflows, because they wait for no row that another transaction has locked."""

from __future__ import annotations

from pgqueue.database import statements
from pgqueue.database.link import Link
from pgqueue.database.outage import forever
from pgqueue.telemetry.events import emit
from pgqueue.telemetry.events.maintenance import NodeMended

FINISH_PAUSE = 1.5  # seconds between two looks
RESOLVED_AT_ONCE = 500
EXAMINED_AT_ONCE = 1000
MENDED_AT_ONCE = 20_000  # this takes about 20 ms
START = (-(2**63), -(2**63))  # in front of every node


async def finish_workflows_forever(link: Link) -> None:
    """Calls ``finish_workflows_once`` again and again until it is cancelled."""

    async def turn() -> float:
        await finish_workflows_once(link)
        return FINISH_PAUSE

    await forever("the search for unfinished workflows", turn)


async def finish_workflows_once(link: Link) -> None:
    """Releases and ends nodes whose jobs were locked, and cancels what is open of each workflow that is being stopped.

    Stops children whose parent has ended.
    """
    left = await link.once(statements.find_left_work())
    if left.has_unresolved:
        await link.once(statements.resolve_again(RESOLVED_AT_ONCE))
    at: int | None = 0 if left.has_children else None
    while at is not None:
        at = await link.once(statements.leave_parents(at, EXAMINED_AT_ONCE))
    after: int | None = 0 if left.has_children or left.has_stopping else None
    while after is not None:
        after = await link.once(statements.finish_workflow(after))


class Nodes:
    """Ends open nodes whose job is gone. Each call of ``mend`` goes on where the former call stopped."""

    def __init__(self, link: Link) -> None:
        self._link = link
        self._after = START

    async def mend(self) -> None:
        """Looks at up to MENDED_AT_ONCE nodes, and at more of them as long as it ends some."""
        mended = True
        while mended:
            found = await self._link.once(statements.mend_nodes(self._after, MENDED_AT_ONCE))
            self._after, mended = found.last or START, found.mended
            if mended:
                emit(NodeMended(*self._after))
