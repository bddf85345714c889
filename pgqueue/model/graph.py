"""Workflows before they are stored: jobs, chains and groups become a graph of nodes. graph_text.py writes it as JSON. Does no I/O.

A ``Chain`` and a ``Group`` are values. Only a ``Graph`` makes nodes of them. All work here grows linearly with the number of nodes and
edges, and nothing recurses, so chains of any depth can be nested.

A gate is a node without a job. A group is a gate over its members. A node that waits for very many others waits for a few gates instead,
the *parts*, so that jobs which end at the same time do not all count at one row.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter
from heapq import heapify, heappop, heappush
from itertools import count
from typing import Any, cast

from pgqueue.errors import InvalidOptionError, InvalidWorkflowError
from pgqueue.model.chains import Chain, Piece, checked
from pgqueue.model.graph_text import Built, Gives, Writer
from pgqueue.model.new_job import NewJob
from pgqueue.model.nodes import WHENS, NodeResult, When
from pgqueue.model.options import RULES
from pgqueue.model.without_keys import NODE_OPTIONS, Declared, without_keys
from pgqueue.text.nearest import rather
from pgqueue.text.values import shown

Adding = Generator["Adding", "Node", "Node"]


@dataclass(eq=False, slots=True, repr=False)
class Node:
    """A node of a workflow that is being built. ``name``: no other node of the workflow has it.

    Give it in ``after`` of a later node, and ``result`` as an argument of a later job.
    """

    graph: Graph
    name: str
    rank: int
    job: NewJob | None = None
    befores: tuple[Node | str, ...] = ()
    when: When | None = None
    gives: Gives | None = None
    prefix: str = ""
    undo: NewJob | None = None

    @property
    def result(self) -> Any:
        """The result that this node will have; a group has the list of its jobs' results. Any type, because a job can take it as any argument."""
        return NodeResult(self)

    def __repr__(self) -> str:
        return f"<Node {self.name}>"


class Graph:
    """The nodes of one workflow. ``declared`` returns the options about duplicates that a task declares for all its jobs."""

    def __init__(self, declared: Declared) -> None:
        self._declared = declared
        self.nodes: list[Node] = []
        self._names: set[str] = set()
        self._by_name: dict[str, Node] = {}  # made when a node waits for a name
        self._unnamed: set[str] = set()  # names that no user chose
        self._counts: dict[str, Iterator[int]] = {}
        self._has_names = False  # whether a node waits for a name, which can be of a later node
        self.is_closed = False

    # ---------------------------------------------------------------- adding

    def add(
        self,
        piece: Piece,
        name: str | None,
        befores: tuple[Node | str, ...],
        when: When | None,
        prefix: str = "",
    ) -> Node:
        """Adds a job, a chain or a group, and returns its last node."""
        self._require_open(befores)
        if when is not None:
            self._check_when(checked(piece), when, befores)
        stack: list[Adding] = [self._add_piece(checked(piece), name, befores, when, prefix)]
        given: Any = None
        while True:
            try:
                stack.append(stack[-1].send(given))
                given = None
            except StopIteration as end:
                stack.pop()
                given = end.value
                if not stack:
                    return cast("Node", given)

    def _add_piece(
        self, piece: Piece, name: str | None, befores: tuple[Node | str, ...], when: When | None, prefix: str
    ) -> Adding:
        if isinstance(piece, NewJob):
            return self._job(piece, name, befores, when, prefix)
        name = piece.name if name is None else name
        inner = prefix if name is None else f"{prefix}{_name(name)}."
        if isinstance(piece, Chain):
            last: Node | None = None
            for one in piece.pieces:
                last = yield self._add_piece(one, None, befores if last is None else (last,), None, inner)
            assert last is not None
            return last
        members: list[Node] = []
        for one in piece.pieces:
            member = yield self._add_piece(one, None, befores, None, inner)
            members.append(member)
        return self.gate(name, tuple(members), befores, prefix)

    def set_undo(self, node: Node, job: NewJob) -> None:
        """Gives a node the job that takes back what the node has done. It can take the results of the node itself and of earlier ones."""
        self._require_open((node,))
        if not isinstance(job, NewJob) or node.job is None:
            raise InvalidWorkflowError(
                f"Node {shown(node.name)} cannot have this undo.",
                why="only a node with a job can be undone, and only by a job",
                do="give a job made by task.job(…) to each job of the group or chain",
            )
        for taken in _results_of(job):
            self._require_own(taken)
            if taken.rank > node.rank:
                raise InvalidWorkflowError(
                    f"The undo of node {shown(node.name)} takes the result of {shown(taken.name)}, which was added after it.",
                    do="take only results of the node itself and of earlier ones",
                )
        node.undo = self._without_keys(job)

    def add_section_gate(self, name: str, prefix: str, first: int, befores: tuple[Node | str, ...]) -> Node:
        """Adds the gate of a nested section. It waits for the last nodes of the section: those for which no other node of the section waits.

        ``first``: the rank of the first node of the section. Nodes that were added meanwhile, but have another prefix, do not belong to it.
        """
        inner = [node for node in self.nodes[first:] if node.prefix.startswith(f"{prefix}{name}.")]
        awaited = {before for node in inner for before in (*node.befores, *_taken(node))}
        names = {node: {node.name, node.name.removeprefix(f"{prefix}{name}.")} for node in inner}
        ends = [node for node in inner if node not in awaited and names[node].isdisjoint(awaited)]
        return self.gate(name, tuple(ends), befores, prefix)

    def gate(
        self,
        name: str | None,
        members: tuple[Node | str, ...],
        befores: tuple[Node | str, ...],
        prefix: str,
        base: str = "group",
    ) -> Node:
        """Adds the gate of a group. The gate of an empty group waits for what the group would wait for, and has no results."""
        self._require_open(members)
        gives: Gives | None = "nothing" if befores and not members else None
        named = self._named(name, base, prefix)
        return self._note(Node(self, named, len(self.nodes), None, members or befores, None, gives, prefix))

    def _job(
        self, job: NewJob, name: str | None, befores: tuple[Node | str, ...], when: When | None, prefix: str
    ) -> Node:
        for taken in (job.results or {}).values():
            self._require_own(cast("Node", taken.node))
        job = self._without_keys(job)
        made = self._named(name, job.task.rpartition(".")[2], prefix)
        return self._note(Node(self, made, len(self.nodes), job, befores, when, None, prefix))

    def _note(self, node: Node) -> Node:
        self.nodes.append(node)
        self._has_names = self._has_names or any(isinstance(before, str) for before in node.befores)
        return node

    def _named(self, given: str | None, base: str, prefix: str) -> str:
        """Returns the name of a new node: the given one, or the first one of ``base``, ``base-2``, ``base-3``, … that is free."""
        if given is not None:
            name = _name(prefix + _name(given))
            if name in self._names:
                why = "a node without a name gets the name of its task" if name in self._unnamed else ""
                raise InvalidWorkflowError(
                    f"Two nodes are named {shown(name)}.",
                    why=why,
                    do="give each its own name: w.add(…, name=…)",
                )
            self._names.add(name)
            return name
        name = base = _name(prefix + base)
        if name in self._names:
            numbers = self._counts.setdefault(base, count(2))
            name = _name(next(made for number in numbers if (made := f"{base}-{number}") not in self._names))
        self._names.add(name)
        self._unnamed.add(name)
        return name

    def _require_open(self, befores: tuple[Node | str, ...]) -> None:
        if self.is_closed:
            raise InvalidWorkflowError(
                "A node is added to a workflow whose block has ended.",
                do="add all nodes inside the with block",
            )
        for before in befores:
            if isinstance(before, Node):
                self._require_own(before)

    def _require_own(self, node: Node) -> None:
        if node.graph is not self:
            raise InvalidWorkflowError(
                f"Node {shown(node.name)} belongs to another workflow.",
                why="nodes can only wait for nodes of their own workflow, which are stored together",
                do="add its job to this workflow, too",
            )

    def _check_when(self, piece: Piece, when: object, befores: Sequence[object]) -> None:
        if when not in WHENS:
            raise InvalidOptionError(f"when is {shown(when)}.", do=rather(when, WHENS))
        if not isinstance(piece, NewJob):
            raise InvalidWorkflowError(
                "when is given for a group or a chain.", do="add its jobs one by one, each with its own when="
            )
        if when == "failed" and not befores and not piece.results:
            raise InvalidWorkflowError(
                "when is 'failed', but the node waits for no node.", do="say which nodes can fail: after=…"
            )

    def _without_keys(self, job: NewJob) -> NewJob:
        """Returns the job without the options about duplicates that its task declares. Raises an error for keys of its own."""
        if job.unique_key is None and NODE_OPTIONS.issuperset(job.options):
            return job
        kept, wrong = without_keys(job.options, self._declared(job.task), NODE_OPTIONS)
        if job.unique_key is not None:
            wrong.insert(0, "unique_key")
        if wrong == ["wake"]:
            raise InvalidWorkflowError(
                f"A node of task {job.task} has the option wake.",
                why="one statement stores all nodes, so a single node cannot choose whether workers are woken",
                do="leave it out; to wake no worker, run this first in your transaction: set local pgqueue.notify = 'off'",
            )
        if wrong:
            raise InvalidWorkflowError(
                f"A node of task {job.task} has the option {', '.join(wrong)}.",
                why="a node is stored once with its workflow, whatever other jobs there are",
                do="leave it out; to store a workflow only once, give the workflow a key",
            )
        return job._replace(options=kept, unique_key=None)

    # ---------------------------------------------------------------- the document

    def built(self, trace_context: Mapping[str, str], **head: object) -> Built:
        """Returns the workflow as ``pgqueue.enqueue_workflow`` takes it. ``head``: name, key, on_failure and meta of the workflow."""
        self.is_closed = True
        writer = Writer(trace_context, self._named)
        for node in self._ordered() if self._has_names else self.nodes:
            befores = list(dict.fromkeys(before.name for before in self._befores(node)))
            if node.job is None:
                writer.write_gate(node.name, befores, node.gives)
            else:
                writer.write_job(node.name, node.job, befores, node.when, node.undo)
        return writer.built({name: value for name, value in head.items() if value is not None})

    def _befores(self, node: Node) -> Iterator[Node]:
        for before in node.befores:
            yield before if isinstance(before, Node) else self._find(before, node)

    def _find(self, name: str, node: Node) -> Node:
        if not self._by_name:
            self._by_name = {one.name: one for one in self.nodes}
        found = self._by_name.get(node.prefix + name) or self._by_name.get(name)
        if found is None:
            raise InvalidWorkflowError(
                f"Node {shown(node.name)} waits for {shown(name)}, but no node has that name.",
                do="give the name of a node of this workflow, or the node that w.add() returned",
            )
        return found

    def _ordered(self) -> list[Node]:
        """Returns the nodes in an order in which each stands after all that it waits for, as near as possible to the order of their addition."""
        before = {
            node.rank: {one.rank for one in (*self._befores(node), *_taken(node), *_taken_by_undo(node))}
            for node in self.nodes
        }
        if all(rank > max(befores, default=-1) for rank, befores in before.items()):
            return self.nodes
        sorter = TopologicalSorter(before)
        try:
            sorter.prepare()
        except CycleError as error:
            names = [self.nodes[rank].name for rank in error.args[1]]
            raise InvalidWorkflowError(
                f"The nodes wait for each other: {' → '.join(names)}.", do="leave out one of these after="
            ) from None
        ready = list(sorter.get_ready())
        heapify(ready)
        found = []
        while ready:
            rank = heappop(ready)
            found.append(self.nodes[rank])
            sorter.done(rank)
            for one in sorter.get_ready():
                heappush(ready, one)
        return found


def _results_of(job: NewJob | None) -> Iterator[Node]:
    """Yields the nodes whose results the job takes."""
    for taken in ((job and job.results) or {}).values():
        yield cast("Node", taken.node)


def _taken(node: Node) -> Iterator[Node]:
    return _results_of(node.job)


def _taken_by_undo(node: Node) -> Iterator[Node]:
    return (taken for taken in _results_of(node.undo) if taken is not node)


def _name(name: object) -> str:
    return cast("str", RULES["unique_key"]("the name of a node", name))
