"""``WorkflowHandle``: reads, cancels and retries a stored workflow, and waits for its end."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import aclosing, closing, contextmanager
from dataclasses import dataclass, field

from pgqueue.app.handle import Asks, JobHandle, limit_of, reading
from pgqueue.app.patience import Patience
from pgqueue.app.storing import JobStore
from pgqueue.database import statements
from pgqueue.database.flows import Flow
from pgqueue.database.joining import NOT_GIVEN
from pgqueue.database.statements.workflows import WorkflowProgress
from pgqueue.errors import (
    InvalidOptionError,
    NodeNotFoundError,
    WorkflowNotFoundError,
    WorkflowUnchangedError,
)
from pgqueue.model.graph import Node
from pgqueue.model.nodes import RESULTS_AT_ONCE, NodeEnd
from pgqueue.model.options import Duration
from pgqueue.text.values import shown


@dataclass(slots=True, unsafe_hash=True)
class WorkflowHandle(Asks):
    """A workflow's id, and whether this call stored the workflow.

    If ``created`` is False, another workflow had the name and the key, and ``id`` is the id of that one. The workflow exists only after the
    transaction that stored it has committed.
    """

    id: int
    created: bool = True
    # The id of the job of each node, by the node's name. Names that are missing here are looked up in the database.
    job_ids: Mapping[str, int] = field(default_factory=dict, repr=False, compare=False)
    store: JobStore | None = field(default=None, repr=False, compare=False)

    def __reduce__(self) -> tuple[object, ...]:
        return WorkflowHandle, (self.id, self.created, self.job_ids, self._pickled_store())

    # ---------------------------------------------------------------- reading

    def progress(self) -> WorkflowProgress:
        """Reads how the workflow goes: its state, and the number of its jobs in each state. Raises WorkflowNotFoundError."""
        with reading():
            return self._store().ask(self._progress())

    async def aprogress(self) -> WorkflowProgress:
        """``progress`` for async callers."""
        with reading():
            return await self._store().aask(self._progress())

    def _progress(self) -> Flow[WorkflowProgress]:
        found: WorkflowProgress | None = yield statements.get_workflow(self.id)
        if found is None:
            raise WorkflowNotFoundError(self.id)
        return found

    def state(self) -> str:
        """Reads whether the workflow is ``running``, ``stopping``, ``completed``, ``failed`` or ``cancelled``.

        If nodes have an undo, a workflow that failed or was cancelled is ``undoing``, and then ``undone`` or ``undo_failed``
        (docs/rules/undo.md). Raises WorkflowNotFoundError.
        """
        return self.progress().state

    async def astate(self) -> str:
        """``state`` for async callers."""
        return (await self.aprogress()).state

    def job(self, node: str | Node) -> JobHandle:
        """Returns a handle of the job of a node, which is given by its name, or as ``w.add()`` returned it.

        Raises NodeNotFoundError, and InvalidOptionError if the node is a group, which has no job.
        """
        known = self.job_ids.get(_name(node))
        if known is None:
            with reading():
                known = self._store().ask(self._job_id(_name(node)))
        return JobHandle(known, created=False, store=self.store)

    async def ajob(self, node: str | Node) -> JobHandle:
        """``job`` for async callers."""
        known = self.job_ids.get(_name(node))
        if known is None:
            with reading():
                known = await self._store().aask(self._job_id(_name(node)))
        return JobHandle(known, created=False, store=self.store)

    def _job_id(self, name: str) -> Flow[int]:
        node_id, is_gate = yield from self._find(name)
        if is_gate:
            raise InvalidOptionError(
                f"Node {shown(name)} is a group, which has no job.", do="name one of the jobs of the group"
            )
        return node_id

    def _find(self, name: str) -> Flow[tuple[int, bool]]:
        found: tuple[int, bool] | None = yield statements.find_node(self.id, name)
        if found is None:
            yield from self._progress()
            raise NodeNotFoundError(self.id, name)
        return found

    def results(self) -> Iterator[NodeEnd]:
        """Yields how each job of the workflow ended, in the order of the workflow: name, state, result and error. Reads page by page.

        A job that is still open is yielded with the state that it has. If there is no such workflow, yields nothing.
        """
        page: list[NodeEnd] | None = None
        while page is None or len(page) == RESULTS_AT_ONCE:
            page = self._store().ask(self._page(page))
            yield from page

    async def aresults(self) -> AsyncIterator[NodeEnd]:
        """``results`` for async callers: ``async for end in handle.aresults()``."""
        page: list[NodeEnd] | None = None
        while page is None or len(page) == RESULTS_AT_ONCE:
            page = await self._store().aask(self._page(page))
            for end in page:
                yield end

    def _page(self, former: list[NodeEnd] | None) -> Flow[list[NodeEnd]]:
        after = former[-1].id if former else None
        page: list[NodeEnd] = yield statements.list_ends(self.id, after=after, count=RESULTS_AT_ONCE)
        return page

    # ---------------------------------------------------------------- changing

    def cancel(self, connection: object = NOT_GIVEN) -> str:
        """Cancels the open jobs. Returns ``cancelled``, ``requested`` if some still run, or ``ended`` if none was open.

        With ``connection``, joins its transaction. Raises WorkflowNotFoundError.
        """
        return self._ask(self._cancel(), connection)

    async def acancel(self, connection: object = NOT_GIVEN) -> str:
        """``cancel`` for async callers."""
        return await self._aask(self._cancel(), connection)

    def _cancel(self) -> Flow[str]:
        said: str | None = yield statements.cancel_workflow(self.id)
        if said is None:
            raise WorkflowNotFoundError(self.id)
        return said

    def retry(
        self, node: str | Node | None = None, connection: object = NOT_GIVEN, *, again: bool = False
    ) -> int:
        """Runs a node again, with all behind it that did not complete. Without ``node``, runs all jobs again that did not complete.

        Jobs that completed keep their results. ``again``: runs ``node`` again although it has completed, so that its effects happen once
        more. A cancelled workflow goes on. If the jobs are children of a job that is dead or cancelled, this parent is revived. Returns how
        many nodes are open again, groups included. With ``connection``, joins its transaction.

        Raises WorkflowNotFoundError or NodeNotFoundError. Raises WorkflowUnchangedError if the node is open, has completed, waits for a node
        that did not complete, is a group, or has no row any longer, or if its parent has completed.
        """
        with _unchanged(self.id):
            return self._ask(self._retry(node, again), connection)

    async def aretry(
        self, node: str | Node | None = None, connection: object = NOT_GIVEN, *, again: bool = False
    ) -> int:
        """``retry`` for async callers."""
        with _unchanged(self.id):
            return await self._aask(self._retry(node, again), connection)

    def _retry(self, node: str | Node | None, again: bool) -> Flow[int]:
        name = None if node is None else _name(node)
        if name is None:
            yield from self._progress()
        else:
            yield from self._find(name)
        opened: int = yield statements.retry_workflow(self.id, name, again=again)
        return opened

    # ---------------------------------------------------------------- waiting

    def join(self, timeout: Duration | None = None) -> WorkflowProgress:
        """Waits until no job of the workflow is open, and returns how it ended. A failed workflow raises no error: look at ``state``.

        After ``timeout`` (seconds, a timedelta or a text such as ``5m``), raises WaitTimeoutError. Raises WorkflowNotFoundError.
        """
        patience = self._patience(timeout)
        while not (found := self.progress()).is_over:
            time.sleep(patience.pause())
            looks = self._store().waiters.looks(found.last_open or 0, patience.left(), watched=False)
            with closing(looks):
                next(looks, None)
        return found

    async def ajoin(self, timeout: Duration | None = None) -> WorkflowProgress:
        """``join`` for async callers. The name ``await`` for a twin of ``wait`` would be a word of Python."""
        patience = self._patience(timeout)
        while not (found := await self.aprogress()).is_over:
            await asyncio.sleep(patience.pause())
            looks = self._store().waiters.alooks(found.last_open or 0, patience.left(), watched=False)
            async with aclosing(looks):
                await anext(looks, None)
        return found

    # ``join`` counts the jobs when the last open one has ended. If others are open then, it pauses before it waits for the next one, each
    # time for longer, so that a workflow of many jobs is not counted at the end of each of them.
    def _patience(self, timeout: Duration | None) -> Patience:
        return Patience(f"Workflow {self.id}", f"pgq workflows show {self.id}", limit_of(timeout), first=0.0)


def _name(node: str | Node) -> str:
    return node.name if isinstance(node, Node) else node


@contextmanager
def _unchanged(workflow_id: int) -> Iterator[None]:
    try:
        yield
    except InvalidOptionError as error:
        raise WorkflowUnchangedError.because(workflow_id, error) from error
