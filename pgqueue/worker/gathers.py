"""The children of a job: jobs that its handler enqueues and waits for, without a slot meanwhile.

The children are a workflow of their own. A step stores them in one transaction with its checkpoint, so they are stored exactly once. The
group of all children ends when the last child has ended. In that transaction, the database sends the parent a signal
(sql/workflows/functions/signal_parents.sql). The parent waits for this signal like for any other one.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence

from psycopg import AsyncConnection, Connection

from pgqueue.app.app import App
from pgqueue.database import statements
from pgqueue.database.flows import Flow, drive, drive_async
from pgqueue.database.statements.workflows import StoredWorkflow
from pgqueue.errors import ChildrenFailedError, InvalidWorkflowError
from pgqueue.model.chains import Group
from pgqueue.model.graph import Graph
from pgqueue.model.job import FINAL
from pgqueue.model.new_job import NewJob
from pgqueue.model.nodes import NodeEnd
from pgqueue.model.steps import StepCall, named, step_id
from pgqueue.text.values import with_article
from pgqueue.worker.attempt import Attempt
from pgqueue.worker.steps import StepFlow, Steps
from pgqueue.worker.waits import wait_for_signal

GATHER = "gather:"  # begins the name of the step that stores the children, and the name of the signal that they have ended


class Gathering:
    """The children that one call of ``job.gather`` stores. ``name``: a text, or a text and a key, as for a step."""

    def __init__(self, app: App, attempt: Attempt, name: object, jobs: Iterable[NewJob]) -> None:
        name, self._key = me = step_id(name)
        self._called = named(me)
        self._name = f"{GATHER}{name}"
        self._attempt = attempt
        self.jobs = list(jobs)
        for job in self.jobs:
            if not isinstance(job, NewJob):
                raise InvalidWorkflowError(
                    f"job.gather() was given {with_article(job)}.", do="give jobs made by task.job(…)"
                )
        graph = Graph(app.store.rules_of)
        graph.add(Group(tuple(self.jobs)), "children", (), None)
        trace = {} if attempt.trace_context is None else json.loads(attempt.trace_context)
        self._document = graph.built(trace, name=name).text

    def store(self, steps: Steps, *, asynchronous: bool) -> StepFlow[int]:
        """Stores the children, unless an earlier attempt has stored them. Returns the id of their workflow."""
        function = astore_children if asynchronous else store_children
        call = StepCall(function, (self._attempt.id, self._document), {})
        workflow_id: int = yield from steps.step(
            (self._name, self._key) if self._key else self._name, call, "effect"
        )
        return workflow_id

    def wait(self, steps: Steps, workflow_id: int, nth: int) -> StepFlow[None]:
        """Waits until the database has sent the signal that all children have ended. ``nth`` counts the waits of one call, from 0."""
        yield from wait_for_signal(steps, (f"{GATHER}{workflow_id}",), None, str(nth) if nth else "")

    def results(self, found: list[NodeEnd], *, returns_ends: bool) -> list[object]:
        """Returns what the handler gets. Raises ChildrenFailedError if it wants results, and a child did not complete."""
        if returns_ends:
            return list(found)
        if any(end.state != "completed" for end in found):
            raise ChildrenFailedError(self._called, found)
        return [end.result for end in found]


def store_children(connection: Connection, job_id: int, document: str) -> int:
    return drive(connection, _storing(job_id, document))


async def astore_children(connection: AsyncConnection, job_id: int, document: str) -> int:
    return await drive_async(connection, _storing(job_id, document))


def _storing(job_id: int, document: str) -> Flow[int]:
    stored: StoredWorkflow = yield statements.enqueue_workflow(document)
    yield statements.adopt_children(stored.id, job_id)
    return stored.id


def are_over(found: Sequence[NodeEnd]) -> bool:
    """Whether all children have ended. If someone retries their workflow, a child can be open again although the signal has come."""
    return all(end.state in FINAL for end in found)
