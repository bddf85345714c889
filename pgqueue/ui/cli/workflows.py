"""``pgq workflows``: list, show, cancel and retry workflows."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Annotated, TypeVar

import typer
from psycopg import Connection

from pgqueue.database import statements
from pgqueue.database.run import run
from pgqueue.database.statements.workflows import NodeRow, WorkflowFilter, WorkflowProgress, WorkflowRow
from pgqueue.errors import (
    InvalidOptionError,
    InvalidSettingError,
    NodeNotFoundError,
    WorkflowNotFoundError,
    WorkflowUnchangedError,
)
from pgqueue.sql import Statement
from pgqueue.text.counted import count
from pgqueue.text.nearest import rather
from pgqueue.text.shown import visible
from pgqueue.text.times import ago, since, span
from pgqueue.ui.cli import tables
from pgqueue.ui.cli.changes import DryRun, operator
from pgqueue.ui.cli.common import AsJson, Dsn, database
from pgqueue.ui.cli.graph_drawing import FINE, PLAIN, Line, drawn
from pgqueue.ui.cli.graph_levels import arranged
from pgqueue.ui.cli.ids import Id, Ids
from pgqueue.ui.cli.output import as_dict, console, emit, emit_items, say, tell, width
from pgqueue.ui.cli.pages import PageSize, before_option, page
from pgqueue.ui.cli.tables import STYLES, fold, table

T = TypeVar("T")

commands = typer.Typer(help="See and change workflows.", no_args_is_help=True)

STATES = ("running", "stopping", "completed", "failed", "cancelled", "undoing", "undone", "undo_failed")
MISSING = "not found"
WOULD = {"cancelled": "would cancel", "requested": "would ask it to stop"}
PAGE = 100
LINES = 3  # a note is cut after this many lines
NARROW = 30  # columns that the text of a line needs; a deeper indent is cut
State = Annotated[
    list[str] | None,
    typer.Option(
        "--state", help="Workflows in this state. Repeat the option for several states.", show_default=False
    ),
]
Name = Annotated[str | None, typer.Option("--name", help="Workflows of this name.", show_default=False)]
Key = Annotated[str | None, typer.Option("--key", help="Workflows with this key.", show_default=False)]


@commands.command("list")
def list_workflows(
    state: State = None,
    name: Name = None,
    key: Key = None,
    limit: PageSize = 50,
    before: Annotated[int | None, before_option("workflows")] = None,
    as_json: AsJson = False,
    dsn: Dsn = None,
) -> None:
    """List workflows, the newest first."""
    which = _filter(state, name, key)
    most, below = page(limit, before)
    with database(dsn) as connection:
        found = run(connection, statements.list_workflows(which, before=below, count=most))
    if as_json:
        emit_items(found, found[-1].id if len(found) == limit else None)
        return
    table(
        ("id", "state", tables.name("name"), tables.name("key"), "completed", "dead", "cancelled", "when"),
        [(w.id, w.state, w.name, w.key, f"{w.completed:,} of {w.nodes:,}", w.dead or None, w.cancelled or None, _when(w))
         for w in found],
        empty="No workflow matches.",
    )  # fmt: skip


def _when(workflow: WorkflowRow) -> str:
    if workflow.ended_at is None:
        return f"for {span(max(since(workflow.created_at), 0.0))}"
    return ago(workflow.ended_at)


def _filter(state: list[str] | None, name: str | None, key: str | None) -> WorkflowFilter:
    states = [word for given in state or () for word in given.split(",")]
    for word in states:
        if word not in STATES:
            raise InvalidOptionError(f"--state is {word!r:.80}.", do=rather(word, STATES))
    return WorkflowFilter(states=states or None, name=name, key=key)


# ------------------------------------------------------------------ show


@commands.command()
def show(
    workflow_id: Id,
    whole: Annotated[
        bool, typer.Option("--all", help="Draw all jobs, also those of wide groups and long chains.")
    ] = False,
    as_json: AsJson = False,
    dsn: Dsn = None,
) -> None:
    """Show a workflow, with a drawing of what waits for what."""
    with database(dsn) as connection:
        found = _get(connection, workflow_id)
        nodes = run(connection, statements.list_nodes(workflow_id))
    if as_json:
        names = {node.id: node.name for node in nodes}
        items = [_item(node, names) for node in nodes]
        emit(
            {name: value for name, value in as_dict(found).items() if name != "last_open"} | {"items": items}
        )
        return
    for label, value in (("workflow", found.id), ("name", found.name), ("key", found.key), ("state", found.state),
                         ("on_failure", found.on_failure), ("jobs", _jobs(found)), ("created", ago(found.created_at)),
                         ("ended", ago(found.ended_at))):  # fmt: skip
        if value not in (None, ""):
            tell(value, f"{label:<11} ")
    print()
    draw(nodes, whole=whole)


def draw(nodes: list[NodeRow], *, whole: bool = False) -> None:
    """Draws what waits for what. ``whole``: with all jobs of wide groups and long chains."""
    glyphs = FINE if _can_print("".join(FINE.marks.values()) + FINE.branch) else PLAIN
    for line in drawn(arranged(nodes), glyphs, whole=whole):
        _print(line)


def _jobs(found: WorkflowProgress) -> str:
    states = ", ".join(f"{number:,} {state}" for state, number in sorted(found.counts.items()))
    return f"{found.nodes:,}" + (f": {states}" if states else "")


def _item(node: NodeRow, names: dict[int, str]) -> dict[str, object]:
    return {
        "id": node.id, "name": node.name, "task": node.task, "state": node.state, "group": node.is_gate, "gives": node.gives,
        "when": None if node.is_gate or node.is_undo else node.needs, "error": node.error, "undo": node.is_undo, "signals": node.signals,
        "after": [names[before] for before in node.after if before in names],
    }  # fmt: skip


def _can_print(text: str) -> bool:
    try:
        text.encode(sys.stdout.encoding or "ascii")
    except UnicodeEncodeError:
        return False
    return True


def _print(line: Line) -> None:
    """Prints a line of the drawing. On a terminal, it has colours, and a text that is too long goes on below."""
    text = visible(
        f"{line.head}  {line.state}  {line.notes}" if line.state else f"{line.head}: {line.notes}"
    ).rstrip()
    if not sys.stdout.isatty():
        print(line.indent + text)
        return
    from rich.text import Text

    indent = line.indent[-max(width() - NARROW, 3) :]
    style = STYLES.get(line.state, "") if line.state else "dim"
    head = len(visible(line.head)) + 2 + len(line.state)
    below = indent.replace("├─ ", "│  ").replace("└─ ", "   ").replace("|- ", "|  ").replace("`- ", "   ")
    done = 0
    for at, part in enumerate(fold(text, max(width() - len(indent), NARROW), LINES)):
        shown = Text(below if at else indent)
        coloured = max(min(len(part), head - done), 0)
        shown.append(part[:coloured], style=style).append(part[coloured:], style="dim")
        done += len(part) + 1
        console().print(shown, soft_wrap=True)


# ------------------------------------------------------------------ cancel and retry


@commands.command()
def cancel(
    ids: Ids = None,
    state: State = None,
    name: Name = None,
    key: Key = None,
    dry_run: DryRun = False,
    as_json: AsJson = False,
    dsn: Dsn = None,
) -> None:
    """Cancel workflows: end the jobs that do not run, and ask the running ones to stop. Give ids, or a filter."""
    which = _filter(state, name, key)
    if ids and which != WorkflowFilter():
        raise InvalidOptionError("Ids and a filter are both given.", do="give only one of the two")
    if not ids and which == WorkflowFilter():
        raise InvalidSettingError("No workflow is named.", do="give ids or a filter, such as --name import")
    done: list[dict[str, object]] = []
    with database(dsn) as connection:
        for workflow_id in dict.fromkeys(ids) if ids else _open_ids(connection, which):
            said = (
                _applied(connection, statements.cancel_workflow(workflow_id, who=operator()), dry_run)
                or MISSING
            )
            done.append({"id": workflow_id, "result": WOULD.get(said, said) if dry_run else said})
    if as_json:
        emit({"items": done, "dry_run": dry_run})
    else:
        table(
            ("id", "result"), [list(item.values()) for item in done], empty="No open workflow matches."
        )  # fmt: skip
    if ids:
        _raise_for(done)


def _open_ids(connection: Connection, which: WorkflowFilter) -> Iterator[int]:
    """Yields the ids of the workflows that match and are open."""
    before: int | None = None
    while page := run(connection, statements.list_workflows(which, before=before, count=PAGE)):
        yield from (found.id for found in page if found.open)
        before = page[-1].id


def _raise_for(done: list[dict[str, object]]) -> None:
    missing = [item["id"] for item in done if item["result"] == MISSING]
    ended = [item["id"] for item in done if item["result"] == "ended"]
    if missing:
        raise WorkflowNotFoundError(int(str(missing[0])))
    if ended:
        raise WorkflowUnchangedError(
            f"{len(ended)} of {count(len(done), 'workflow')} had ended: workflow {ended[0]}.",
            do=f"pgq workflows show {ended[0]}",
        )


@commands.command()
def retry(
    workflow_id: Id,
    node: Annotated[str | None, typer.Argument(metavar="NODE", show_default=False)] = None,
    again: Annotated[
        bool,
        typer.Option(
            "--again", help="Also run NODE again if it has completed. Its effects happen once more."
        ),
    ] = False,
    dry_run: DryRun = False,
    as_json: AsJson = False,
    dsn: Dsn = None,
) -> None:
    """Run a node again, with all behind it that did not complete. Without NODE, run all jobs again that did not complete."""
    with database(dsn) as connection:
        _get(connection, workflow_id)
        if node is not None and run(connection, statements.find_node(workflow_id, node)) is None:
            raise NodeNotFoundError(workflow_id, node)
        try:
            opened = _applied(
                connection, statements.retry_workflow(workflow_id, node, again=again, who=operator()), dry_run
            )
        except InvalidOptionError as error:
            raise WorkflowUnchangedError.because(workflow_id, error) from error
    if as_json:
        emit({"id": workflow_id, "node": node, "open": opened, "dry_run": dry_run})
    else:
        say("would retry" if dry_run else "retried", f"{count(opened, 'node')} of workflow {workflow_id}")


def _applied(connection: Connection, statement: Statement[T], dry_run: bool) -> T:
    if not dry_run:
        return run(connection, statement)
    with connection.transaction(force_rollback=True):
        return run(connection, statement)


def _get(connection: Connection, workflow_id: int) -> WorkflowProgress:
    found = run(connection, statements.get_workflow(workflow_id))
    if found is None:
        raise WorkflowNotFoundError(workflow_id)
    return found
