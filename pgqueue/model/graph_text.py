"""Writes the nodes of a workflow as JSON, in the form of ``pgqueue.enqueue_workflow``. Does no I/O."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Literal, NamedTuple

from pgqueue.errors import InvalidWorkflowError, PayloadTooLargeError
from pgqueue.model.new_job import NOT_ASCII, NewJob, escaped
from pgqueue.model.nodes import When

MOST_NODES = 20_000  # check_workflow.sql refuses more
MOST_EDGES_IN = 200  # a node that waits for more nodes waits for parts
PART = 100  # nodes in a part
DOCUMENT_LIMIT = 64 * 1024 * 1024

Gives = Literal["members", "nothing"]


class Built(NamedTuple):
    """A workflow as JSON text. ``names`` and ``tasks``: of all its nodes, in order. A gate has no task."""

    text: str
    names: list[str]
    tasks: list[str | None]


class Writer:
    """Writes nodes as JSON, one after the other, and divides what too many others wait for into parts. ``named`` makes names for parts."""

    def __init__(
        self, trace_context: Mapping[str, str], named: Callable[[str | None, str, str], str]
    ) -> None:
        self._trace, self._named = trace_context, named
        self._options: dict[int, str] = {}  # as JSON, by the identity of the mapping, which many jobs share
        # The names of the parts, by the names of the nodes in them.
        self._parts: dict[tuple[str, ...], list[str]] = {}
        self._texts: list[str] = []
        self._names: list[str] = []
        self._tasks: list[str | None] = []

    def write_gate(self, name: str, members: Sequence[str], gives: Gives | None) -> None:
        self._note(name, None, _gate(name, self._divided(name, members), gives))

    def write_job(self, name: str, job: NewJob, befores: Sequence[str], when: When | None) -> None:
        self._note(name, job.task, self._job(name, job, self._divided(name, befores), when))

    def _divided(self, name: str, given: Sequence[str]) -> Sequence[str]:
        """Writes parts for too many nodes that node ``name`` waits for. Returns the names of the parts, or else ``given``."""
        if len(given) <= MOST_EDGES_IN:
            return given
        befores = tuple(given)
        parts = self._parts.get(befores)
        if parts is None:
            parts = self._parts[befores] = []
            for at in range(0, len(befores), PART):
                parts.append(self._named(None, f"{name}.part", ""))
                self._note(parts[-1], None, _gate(parts[-1], befores[at : at + PART], "members"))
        return parts

    def _note(self, name: str, task: str | None, text: str) -> None:
        self._names.append(name)
        self._tasks.append(task)
        self._texts.append(text)

    def _job(self, name: str, job: NewJob, befores: Sequence[str], when: When | None) -> str:
        options = self._options.get(id(job.options))
        if options is None:
            chosen = {**job.options, "trace_context": self._trace} if self._trace else dict(job.options)
            options = self._options[id(job.options)] = json.dumps(chosen)[1:-1]
        more = f", {options}" if options else ""
        if befores:
            more += f', "after": {json.dumps(befores)}'
        if when is not None:
            more += f', "when": "{when}"'
        if job.results:
            more += f', "results": {json.dumps({argument: taken.node.name for argument, taken in job.results.items()})}'
        return (
            f'{{"name": {json.dumps(name)}, "task": {json.dumps(job.task)}, "declared": true,'
            f' "args": {job.args}{more}}}'
        )

    def built(self, head: Mapping[str, object]) -> Built:
        """Returns the whole workflow. Raises InvalidWorkflowError or PayloadTooLargeError if it is too large."""
        if len(self._names) > MOST_NODES:
            raise InvalidWorkflowError(
                f"The workflow has {len(self._names):,} nodes, and the limit is {MOST_NODES:,}.",
                why="groups are nodes, too",
                do="split it into several workflows; the last job of one can store the next one",
            )
        nodes = ",".join(self._texts)
        if len(nodes) > DOCUMENT_LIMIT:
            raise PayloadTooLargeError(
                f"The workflow is {len(nodes) >> 20:,} MiB of JSON; the limit is {DOCUMENT_LIMIT >> 20} MiB.",
                do="store the data elsewhere and pass references to it",
            )
        return Built(f'{json.dumps(head)[:-1]}, "nodes": [{nodes}]}}', self._names, self._tasks)


def _gate(name: str, members: Sequence[str], gives: Gives | None) -> str:
    more = "" if gives is None else f', "gives": "{gives}"'
    return f'{{"name": {json.dumps(name)}, "group": {json.dumps(members)}{more}}}'


def in_ascii(document: str) -> str:
    """Returns the same JSON text, with all characters outside ASCII as escapes."""
    return NOT_ASCII.sub(escaped, document)
