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

    def write_job(
        self, name: str, job: NewJob, befores: Sequence[str], when: When | None, undo: NewJob | None = None
    ) -> None:
        befores = self._divided(name, befores)
        text = f'{{"name": {json.dumps(name)}, {self._job(job)}'
        if befores:
            text += f', "after": {json.dumps(befores)}'
        if when is not None:
            text += f', "when": "{when}"'
        if undo is not None:
            text += f', "undo": {{{self._job(undo)}}}'
        self._note(name, job.task, text + "}")

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

    def _job(self, job: NewJob) -> str:
        """Returns the job as the inside of a JSON object."""
        options = self._options.get(id(job.options))
        if options is None:
            chosen = {**job.options, "trace_context": self._trace} if self._trace else dict(job.options)
            options = self._options[id(job.options)] = json.dumps(chosen)[1:-1]
        text = f'"task": {json.dumps(job.task)}, "declared": true, "args": {job.args}'
        if options:
            text += f", {options}"
        if job.results:
            taken = {argument: result.node.name for argument, result in job.results.items()}
            text += f', "results": {json.dumps(taken)}'
        return text

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
