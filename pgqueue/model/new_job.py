"""``NewJob``: a job before it is stored."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

from pgqueue.model.nodes import NodeResult, of_a_workflow

NOT_ASCII = re.compile(r"[^\x00-\x7f]+")


class NewJob(NamedTuple):
    """A job that is not stored yet: a task's name, its arguments as JSON text, and the options of the SQL API.

    ``unique_key`` is not one of ``options``. So jobs with different keys can share one mapping of options. ``results``: for each name of an
    argument that is not in ``args``, the node of a workflow whose result becomes that argument.
    """

    task: str
    args: str
    options: Mapping[str, Any] = MappingProxyType({})
    unique_key: str | None = None
    results: Mapping[str, NodeResult] | None = None

    def __repr__(self) -> str:
        """Leaves out the arguments, because they can be secret."""
        return f"<NewJob of {self.task}>"


class Batch(NamedTuple):
    """Jobs of one task that share their options. ``args``: the arguments of each job, as JSON text. ``keys``: the unique_key of each job, or None.

    A job is only a text here, not an object, because the garbage collector does not visit texts: even a hundred thousand texts cost it nothing.
    """

    task: str
    args: list[str]
    options: Mapping[str, Any] = MappingProxyType({})
    keys: list[str] | None = None

    def in_ascii(self) -> Batch:
        """Returns the same batch, but all characters outside ASCII are JSON escapes in the arguments."""
        return self._replace(args=[NOT_ASCII.sub(escaped, args) for args in self.args])

    def item(self, *, declared: bool = True) -> str:
        """Returns the JSON text of these jobs, as one item of ``pgqueue.enqueue_many``.

        ``declared`` False: the options are only those of the call, so the database adds those that the task declares.
        """
        keys = {} if self.keys is None else {"keys": self.keys}
        head = {"task": self.task, "declared": True} if declared else {"task": self.task}
        return json.dumps({**head, **self.options, **keys})[:-1] + f', "each": [{",".join(self.args)}]}}'


def escaped(found: re.Match[str]) -> str:
    return json.dumps(found[0])[1:-1]


def in_batches(jobs: Iterable[NewJob]) -> list[Batch]:
    """Returns the jobs as batches, in the same order. Jobs that follow each other and share their task and options are in one batch."""
    found: list[Batch] = []
    last = None
    for task, args, options, key, results in jobs:
        if results:
            raise of_a_workflow(task, next(iter(results.values())))
        if (
            last is None
            or task != last.task
            or (options is not last.options and options != last.options)
            or (key is None) != (last.keys is None)
        ):
            last = Batch(task, [], options, None if key is None else [])
            found.append(last)
        last.args.append(args)
        if key is not None and last.keys is not None:
            last.keys.append(key)
    return found
