"""Does what statements that end jobs leave of workflows: what another transaction had locked, and what the database refused."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from pgqueue.database import statements
from pgqueue.database.link import Link
from pgqueue.database.outage import Trouble, forever, is_lost
from pgqueue.database.sifting import pass_over
from pgqueue.database.statements.workflows import Unresolved
from pgqueue.runtime.clock import monotonic
from pgqueue.telemetry.events import emit
from pgqueue.telemetry.events.database import NodeRefused, WorkflowPassedOver
from pgqueue.telemetry.events.maintenance import NodeMended

FINISH_PAUSE = 1.5  # seconds between two looks
RESOLVED_AT_ONCE = 500
CANCELLED_AT_ONCE = 5000  # of a batch
LONGEST_TURN = 10.0  # seconds after which a turn begins nothing more
LONG = 1.0  # seconds: a statement that takes longer has perhaps waited for a lock again and again
MOST_PUT_OFF = 50  # nodes in one turn: perhaps each of them has waited for a lock
EXAMINED_AT_ONCE = 1000
MENDED_AT_ONCE = 20_000  # this takes about 20 ms
START = (-(2**63), -(2**63))  # in front of every node


async def finish_workflows_forever(link: Link) -> None:
    """Does what is left again and again until it is cancelled."""
    finisher = Finisher(link)

    async def turn() -> float:
        await finisher.once()
        return FINISH_PAUSE

    await forever("the search for unfinished workflows", turn)


class Finisher:
    """Releases and ends nodes that were left, stops children whose parent has ended, and cancels what is open of stopped workflows.

    A node is left if its job was locked, or if the database refused to go on with it. If a statement fails for one node or one workflow, for
    instance because of a trigger of the user, the others go on.
    """

    def __init__(self, link: Link) -> None:
        self._link = link
        self._resolving = Trouble("the release of nodes that were left")
        self._leaving = Trouble("the search for children whose parent has ended")
        self._stopping = Trouble("the cancel of what is open of stopped workflows")
        self._stopped = 0  # the workflow behind which _stop goes on
        # Of workflows some of whose jobs were refused: the node behind which _finish goes on.
        self._behind: dict[int, int] = {}

    async def once(self) -> None:
        left = await self._link.once(statements.find_left_work())
        for is_due, part, trouble in (
            (left.has_unresolved, self._resolve, self._resolving),
            (left.has_children, self._leave_parents, self._leaving),
            (left.has_children or left.has_stopping, self._stop, self._stopping),
        ):
            if is_due:
                await _try(part, trouble)

    async def _resolve(self) -> None:
        """Resolves the oldest nodes that were left, and reports why the database refused some of them.

        Tries a refused node alone, then the next two, then four, and so on, because one that fails slowly leaves no time for the others of its
        statement. After a statement that took long, begins again with one node. If the turn takes too long, the next turn goes on behind the
        nodes that this turn has tried.
        """
        until = monotonic() + LONGEST_TURN
        chosen = await self._link.once(statements.choose_unresolved(RESOLVED_AT_ONCE))
        await self._resolve_together([one for one in chosen if one.refusal is None])
        refused = [(one, one.refusal) for one in chosen if one.refusal is not None]
        size = 1
        while refused and monotonic() < until:
            some, refused = refused[:size], refused[size:]
            for one, refusal in some:
                pass_over(self._link.once, one.node_id, refusal, NodeRefused)
            began = monotonic()
            await self._resolve_together([one for one, _ in some])
            size = size * 2 if monotonic() - began < LONG else 1

    async def _resolve_together(self, left: list[Unresolved]) -> None:
        """Resolves these nodes. If a statement fails, tries each half of its nodes, and puts off a node that fails alone."""
        parts = [left] if left else []
        failed = 0
        while parts:
            some = parts.pop()
            try:
                await self._link.once(statements.resolve_again([one.id for one in some]))
            except Exception as error:
                if is_lost(error) or failed == MOST_PUT_OFF:
                    raise
                if len(some) > 1:
                    middle = len(some) // 2
                    parts += [some[middle:], some[:middle]]
                else:
                    failed += 1
                    pass_over(self._link.once, some[0].node_id, error, NodeRefused)
                    why = f"The statement of the leader failed: {error}".replace("\x00", "")
                    await self._link.once(statements.put_off_unresolved(some[0].id, why))

    async def _leave_parents(self) -> None:
        at: int | None = 0
        while at is not None:
            at = await self._link.once(statements.leave_parents(at, EXAMINED_AT_ONCE))

    async def _stop(self) -> None:
        """Cancels what is open of each workflow that is being stopped.

        If the database refuses that for some jobs of a workflow, the next turn goes on behind the last job that was tried. So they keep no other
        job from being cancelled. If the turn takes too long, the next turn goes on with the next workflow.
        """
        until = monotonic() + LONGEST_TURN
        while (workflow := await self._link.once(statements.find_stopping(self._stopped))) is not None:
            try:
                await self._finish(workflow)
            except Exception as error:
                if is_lost(error):
                    raise
                pass_over(self._link.once, workflow, error, WorkflowPassedOver)
            self._stopped = workflow
            if monotonic() >= until:
                return
        self._stopped = 0

    async def _finish(self, workflow: int) -> None:
        behind: int | None = self._behind.pop(workflow, 0)
        while behind is not None:
            found = await self._link.once(statements.finish_workflow(workflow - 1, behind, CANCELLED_AT_ONCE))
            behind = found.last if found.workflow_id == workflow else None
            if found.workflow_id is not None and found.error is not None:
                pass_over(self._link.once, found.workflow_id, found.error, WorkflowPassedOver)
                if behind is not None:
                    self._behind[workflow] = behind
                return


class Nodes:
    """Ends open nodes whose job is gone. Each call of ``mend`` goes on where the former call stopped."""

    def __init__(self, link: Link) -> None:
        self._link = link
        self._after = START

    async def mend(self) -> None:
        """Looks at up to MENDED_AT_ONCE nodes, and at more of them as long as it ends some, or cannot end one."""
        mended = True
        while mended:
            try:
                found = await self._link.once(statements.mend_nodes(self._after, MENDED_AT_ONCE))
            except Exception as error:
                if is_lost(error):
                    raise
                bad = await self._link.once(statements.find_jobless(self._after, MENDED_AT_ONCE))
                if bad is None:
                    raise
                pass_over(self._link.once, bad[1], error, NodeRefused)
                self._after = bad
                continue
            self._after, mended = found.last or START, found.mended
            if mended:
                emit(NodeMended(*self._after))


async def _try(part: Callable[[], Awaitable[None]], trouble: Trouble) -> None:
    """Reports the error of a part instead of raising it, so that the other parts are done. If the server was lost, raises the error."""
    try:
        await part()
        trouble.over()
    except Exception as error:
        if is_lost(error):
            raise
        trouble.after(error)
