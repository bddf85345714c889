"""The methods that build workflows and store them: ``app.workflow``, ``app.enqueue_workflow`` and their async twins.

A workflow is stored by one statement, in one transaction, when it is complete. So after a crash, either all of its jobs are stored or none of them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from typing import ClassVar, Self, Union

from pgqueue.app.handle import checked_id
from pgqueue.app.sending import sending_workflow
from pgqueue.app.storing import JobStore
from pgqueue.app.workflow_handle import WorkflowHandle
from pgqueue.database.joining import NOT_GIVEN, given, is_async, joined
from pgqueue.database.statements.workflows import StoredWorkflow
from pgqueue.errors import InvalidOptionError, InvalidWorkflowError, WrongConnectionError
from pgqueue.model.chains import Piece
from pgqueue.model.graph import Graph, Node
from pgqueue.model.graph_text import Built
from pgqueue.model.new_job import NewJob
from pgqueue.model.nodes import ON_FAILURES, OnFailure, When
from pgqueue.model.options import RULES
from pgqueue.telemetry.tracing import carrier
from pgqueue.text.nearest import rather
from pgqueue.text.values import shown, with_article

# What a node waits for: nodes, sections or names of nodes.
After = Union[Node, "Nested", str, Iterable[Union[Node, "Nested", str]]]


class Nested:
    """A section of a workflow. The names of its nodes begin alike: ``with w.nested("ship", after=paid) as ship: ship.add(…)``.

    After the block, give the section in ``after`` of a later node, which then waits until all nodes of the section have ended.
    """

    def __init__(self, graph: Graph, prefix: str, befores: tuple[Node | str, ...]) -> None:
        self._graph, self._prefix, self._befores = graph, prefix, befores
        self.node: Node | None = None  # the gate of the section; None: the block has not ended

    def add(
        self,
        piece: Piece,
        *,
        name: str | None = None,
        after: After | None = None,
        when: When | None = None,
        undo: NewJob | None = None,
    ) -> Node:
        """Adds a job, a chain or a group, and returns its node: ``paid = w.add(charge.job(7, ref=held.result), after=held)``.

        ``piece``: made by ``task.job(…)``, ``chain`` or ``group``. The node of a chain is its last one; the node of a group ends when all
        of the group has ended. ``name``: the default is the last part of the task's name, with a number if it is taken. ``after``: what it
        waits for: nodes, or names of nodes, also of later ones. It also waits for nodes whose ``result`` is an argument of the job.
        ``when``: ``completed`` (the default: all that it waits for must complete, else it is cancelled), ``failed`` (it runs only if one did
        not) or ``ended`` (it runs in any case). ``undo``: a job that takes back what this job has done, if the workflow fails or is cancelled.

        Raises InvalidWorkflowError for a name that is taken, a node of another workflow, or a job with a key of its own.
        """
        befores = tuple(_nodes(after)) if after is not None else self._befores
        node = self._graph.add(piece, name, befores, when, self._prefix)
        if undo is not None:
            self.undo(node, undo)
        return node

    def undo(self, node: Node, job: NewJob) -> None:
        """Gives a node an undo that takes the node's own result: ``w.undo(paid, refund.job(7, receipt=paid.result))``.

        If the workflow fails or is cancelled, the undos of all nodes that completed run one after the other, that of the node that ended last
        first. Raises InvalidWorkflowError if the node has no job.
        """
        self._graph.set_undo(node, job)

    def gate(self, nodes: After, *, name: str | None = None) -> Node:
        """Adds a node without a job, which ends when all these nodes have ended. Its ``result`` is the list of their results.

        It completes if all of them completed. The list is in the order in which they were added to the workflow.
        """
        return self._graph.gate(name, tuple(_nodes(nodes)), (), self._prefix, base="gate")

    @contextmanager
    def nested(self, name: str, *, after: After | None = None) -> Iterator[Nested]:
        """Opens a block in which a section of the workflow is built. The names of its nodes begin with ``name`` and a dot.

        A node of the section that is added without ``after`` waits for the nodes in the ``after`` of the section. The end of the block adds a
        node with the name of the section, which ends when all nodes of the section have ended.
        """
        befores = tuple(_nodes(after)) if after is not None else self._befores
        inner = Nested(self._graph, f"{self._prefix}{name}.", befores)
        first = len(self._graph.nodes)
        yield inner
        inner.node = self._graph.add_section_gate(name, self._prefix, first, befores)


class WorkflowBuilder(Nested):
    """What ``Workflow`` and ``AsyncWorkflow`` have in common."""

    is_async: ClassVar[bool]

    def __init__(
        self,
        store: JobStore,
        name: str,
        key: str | None,
        using: object,
        on_failure: OnFailure,
        meta: Mapping[str, object] | None,
    ) -> None:
        super().__init__(Graph(store.rules_of), "", ())
        self._store, self._connection = store, given(using)
        if self._connection is not None and is_async(joined(self._connection)) is not self.is_async:
            kind, do = (
                ("a sync", "with app.workflow(…)")
                if self.is_async
                else ("an async", "async with app.aworkflow(…)")
            )
            raise WrongConnectionError(f"The workflow was given {kind} connection.", do=f"write: {do}")
        if on_failure not in ON_FAILURES:
            raise InvalidOptionError(
                f"on_failure is {shown(on_failure)}.", do=rather(on_failure, ON_FAILURES)
            )
        self._head = {
            "name": _text("the name of a workflow", name),
            "key": None if key is None else _text("the key of a workflow", key),
            "on_failure": on_failure,
            "meta": None if meta is None else RULES["meta"]("meta", meta),
        }
        self._handle: WorkflowHandle | None = None

    @property
    def handle(self) -> WorkflowHandle:
        """The handle of the stored workflow. Raises RuntimeError before the end of the block, because nothing is stored yet."""
        if self._handle is None:
            msg = "the workflow is not stored yet: the end of its with block stores it"
            raise RuntimeError(msg)
        return self._handle

    def _sending(self) -> AbstractContextManager[None]:
        """Returns the context in which the workflow is built and stored. Its jobs get the trace of this context."""
        tasks = [node.job.task for node in self._graph.nodes if node.job is not None]
        return sending_workflow(tasks, self._store.dsn if self._connection is None else None)

    def _built(self) -> Built:
        return self._graph.built(carrier(), **self._head)

    def _noted(self, built: Built, stored: StoredWorkflow) -> WorkflowHandle:
        """Makes the handle of the stored workflow, and keeps it for ``handle``."""
        ids = {
            name: node_id
            for name, task, node_id in zip(built.names, built.tasks, stored.node_ids, strict=True)
            if task is not None
        } if stored.created else {}  # fmt: skip
        self._handle = WorkflowHandle(stored.id, stored.created, ids, self._store)
        return self._handle


class Workflow(WorkflowBuilder):
    """A workflow that is being built: ``with app.workflow("order") as w: w.add(…)``. The end of the block stores it."""

    is_async = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None:
            self.store()
        self._graph.is_closed = True

    def store(self) -> WorkflowHandle:
        with self._sending():
            built = self._built()
            return self._noted(built, self._store.insert_workflow(built, self._connection))


class AsyncWorkflow(WorkflowBuilder):
    """A workflow that is being built: ``async with app.aworkflow("order") as w: w.add(…)``. The end of the block stores it."""

    is_async = True

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None:
            await self.store()
        self._graph.is_closed = True

    async def store(self) -> WorkflowHandle:
        with self._sending():
            built = self._built()
            return self._noted(built, await self._store.ainsert_workflow(built, self._connection))


class Workflows:
    """The base class of ``App`` that stores workflows."""

    store: JobStore

    def workflow(
        self,
        name: str,
        *,
        key: str | None = None,
        using: object = NOT_GIVEN,
        on_failure: OnFailure = "cancel",
        meta: Mapping[str, object] | None = None,
    ) -> Workflow:
        """Opens a block in which a workflow is built: ``with app.workflow("order", key="order-7") as w: held = w.add(reserve.job(7))``.

        The end of the block stores all nodes in one transaction: that of ``using``, which takes the same connections as ``task.using()``,
        or a transaction of its own. If the block raises an error, nothing is stored. ``w.handle`` is then the workflow's handle.
        ``key``: only one workflow of this name can have it. If it is taken, nothing is stored, and ``w.handle.created`` is False.
        ``on_failure``: what a dead or cancelled job does: ``cancel`` what needs it; ``stop`` all that is open, too; or ``continue``.
        ``meta``: any JSON object.

        Raises InvalidOptionError and WrongConnectionError, and at the end of the block InvalidWorkflowError, if its nodes wait for each
        other.
        """
        return Workflow(self.store, name, key, using, on_failure, meta)

    def aworkflow(
        self,
        name: str,
        *,
        key: str | None = None,
        using: object = NOT_GIVEN,
        on_failure: OnFailure = "cancel",
        meta: Mapping[str, object] | None = None,
    ) -> AsyncWorkflow:
        """``workflow`` for async connections: ``async with app.aworkflow("order") as w: w.add(…)``."""
        return AsyncWorkflow(self.store, name, key, using, on_failure, meta)

    def enqueue_workflow(
        self,
        piece: Piece,
        *,
        name: str = "workflow",
        key: str | None = None,
        using: object = NOT_GIVEN,
        on_failure: OnFailure = "cancel",
        meta: Mapping[str, object] | None = None,
    ) -> WorkflowHandle:
        """Stores a chain or a group as a workflow, and returns its handle: ``app.enqueue_workflow(chain(a.job(1), b.job(2)))``.

        The other parameters are those of ``workflow``.
        """
        workflow = Workflow(self.store, name, key, using, on_failure, meta)
        workflow.add(piece)
        return workflow.store()

    async def aenqueue_workflow(
        self,
        piece: Piece,
        *,
        name: str = "workflow",
        key: str | None = None,
        using: object = NOT_GIVEN,
        on_failure: OnFailure = "cancel",
        meta: Mapping[str, object] | None = None,
    ) -> WorkflowHandle:
        """``enqueue_workflow`` for async connections."""
        workflow = AsyncWorkflow(self.store, name, key, using, on_failure, meta)
        workflow.add(piece)
        return await workflow.store()

    def workflow_handle(self, workflow_id: int) -> WorkflowHandle:
        """Returns a handle of a workflow that was stored elsewhere. Raises InvalidOptionError if ``workflow_id`` cannot be an id."""
        return WorkflowHandle(checked_id(workflow_id, "a workflow"), created=False, store=self.store)


def _text(what: str, value: object) -> object:
    return RULES["unique_key"](what, value)


def _nodes(after: After) -> Iterator[Node | str]:
    """Yields the nodes, and the names of nodes, that are given in ``after``. In place of a section, yields its gate."""
    for one in [after] if isinstance(after, Node | Nested | str) else after:
        if isinstance(one, Nested):
            if one.node is None:
                raise InvalidWorkflowError(
                    "A node waits for a nested workflow whose block has not ended.",
                    do="add the node after the block",
                )
            yield one.node
        elif isinstance(one, Node | str):
            yield one
        else:
            raise InvalidWorkflowError(
                f"after contains {with_article(one)}.",
                do="give nodes that w.add() returned, or names of nodes",
            )
