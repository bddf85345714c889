"""The children of a job: jobs that its handler enqueues and waits for, without a slot meanwhile.

The children are a workflow of their own. A step stores them in one transaction with its checkpoint, so they are stored exactly once. The
group of all children ends when the last child has ended. In that transaction, the database sends the parent a signal
(sql/workflows/functions/signal_parents.sql). The parent waits for this signal like for any other one.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence

from psycopg import AsyncConnection, Connection

from pgqueue.app.app import App
from pgqueue.database import statements
from pgqueue.database.flows import Flow, drive, drive_async
from pgqueue.database.statements.workflows import StoredWorkflow
from pgqueue.errors import CheckpointMismatchError, ChildrenFailedError, InvalidWorkflowError
from pgqueue.model.chains import Group
from pgqueue.model.graph import Graph
from pgqueue.model.job import FINAL
from pgqueue.model.new_job import NewJob
from pgqueue.model.nodes import NodeEnd
from pgqueue.model.steps import StepCall, named, step_id
from pgqueue.telemetry.tracing import carrier
from pgqueue.text.counted import count
from pgqueue.text.values import with_article
from pgqueue.worker.attempt import Attempt
from pgqueue.worker.steps import StepFlow, Steps
from pgqueue.worker.waits import wait_for_signal

GATHER = "gather:"  # begins the name of the step that stores the children, and the name of the signal that they have ended


class Gathering:
    """The children that one call of ``job.gather`` stores. ``name``: a text, or a text and a key, as for a step."""

    def __init__(self, app: App, attempt: Attempt, name: object, jobs: Iterable[NewJob]) -> None:
        self._app, self._attempt = app, attempt
        self._name, self._key = me = step_id(name)
        self._called = named(me)
        self._jobs = tuple(jobs)
        for job in self._jobs:
            if not isinstance(job, NewJob):
                raise InvalidWorkflowError(
                    f"job.gather() was given {with_article(job)}.", do="give jobs made by task.job(…)"
                )

    def store(self, steps: Steps, *, asynchronous: bool) -> StepFlow[int | None]:
        """Stores the children, unless an earlier attempt has stored them. Returns the id of their workflow; None if there are no children.

        A later attempt must have the same tasks and arguments. The options of the jobs do not matter, because a deploy can change what
        their tasks declare, and an option can be a time.
        """
        name = f"{GATHER}{self._name}"
        same = [(job.task, job.args) for job in self._jobs]
        me = (name, self._key) if self._key else name
        if not self._jobs:
            yield from steps.step(me, StepCall(no_children, (), {}), "step", same)
            return None
        function = astore_children if asynchronous else store_children
        call: StepCall[object] = StepCall(function, (self._attempt.id, self._document), {})
        workflow_id: int | None = yield from steps.step(me, call, "effect", same)
        return workflow_id

    def _document(self) -> str:
        """Returns the workflow of the children as JSON text."""
        graph = Graph(self._app.store.rules_of)
        graph.add(Group(self._jobs), "children", (), None)
        stored = self._attempt.trace_context
        trace = carrier() or ({} if stored is None else json.loads(stored))
        return graph.built(trace, name=self._name).text

    def wait(self, steps: Steps, workflow_id: int, nth: int) -> StepFlow[None]:
        """Waits until the database has sent the signal that all children have ended. ``nth`` counts the waits of one call, from 0."""
        yield from wait_for_signal(steps, (f"{GATHER}{workflow_id}",), None, str(nth) if nth else "")

    def are_over(self, workflow_id: int, found: Sequence[NodeEnd]) -> bool:
        """Whether all children have ended. If someone retries their workflow, a child can be open again although the signal has come.

        Raises CheckpointMismatchError if nodes of children are gone, because then it is not known which result belongs to which child.
        """
        if len(found) != len(self._jobs):
            name = f"{GATHER}{self._name}"
            raise CheckpointMismatchError(
                f"Step {named((name, self._key))} of job {self._attempt.id} has stored {count(len(self._jobs), 'child', 'children')}"
                f" as workflow {workflow_id}, but {len(found)} of them are left.",
                job_id=self._attempt.id,
                name=name,
                key=self._key,
                why="rows of pgqueue.nodes were deleted",
            )
        return all(end.state in FINAL for end in found)

    def results(self, workflow_id: int, found: Sequence[NodeEnd], *, returns_ends: bool) -> list[object]:
        """Returns what the handler gets. Raises ChildrenFailedError if it wants results, and a child did not complete."""
        if returns_ends:
            return list(found)
        if any(end.state != "completed" for end in found):
            raise ChildrenFailedError(self._called, workflow_id, found)
        return [end.result for end in found]


def no_children() -> int | None:
    """Is the step of a call without jobs. It is stored so that a later attempt must give none either, but needs no transaction of its own."""
    return None


def store_children(connection: Connection, job_id: int, document: Callable[[], str]) -> int | None:
    return drive(connection, _storing(job_id, document()))


async def astore_children(
    connection: AsyncConnection, job_id: int, document: Callable[[], str]
) -> int | None:
    return await drive_async(connection, _storing(job_id, document()))


def _storing(job_id: int, document: str) -> Flow[int | None]:
    stored: StoredWorkflow = yield statements.enqueue_workflow(document)
    yield statements.adopt_children(stored.id, job_id)
    return stored.id
