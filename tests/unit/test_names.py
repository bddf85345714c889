"""Tests of the public names, and of rules for the code that type checkers do not check."""

from __future__ import annotations

import ast
import inspect
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import fields
from types import ModuleType

import pytest

import pgqueue
from pgqueue import App, JobHandle, Task, WorkflowHandle, errors, sql
from pgqueue.app.batch_handle import BatchHandle
from pgqueue.app.enqueue import Enqueuer
from pgqueue.app.storing import JobStore
from pgqueue.app.waiters import Waiters
from pgqueue.app.workflows import Workflows
from pgqueue.database import flows, run, statements
from pgqueue.database.pools import Pools
from pgqueue.sql.__main__ import main
from tests.package import MODULES, PACKAGE


def test_the_public_names_are_these():
    assert pgqueue.__all__ == [
        "App", "AsyncOpenBatch", "AsyncWorkflow", "BatchHandle", "BatchProgress", "Call", "Cancel", "Chain", "Dead", "Failure", "Group", "Job", "JobContext", "JobFields", "JobHandle", "JsonFormatter", "LeaseLostError",
        "NewJob", "Node", "NodeEnd", "OpenBatch", "PgQueueError", "RateLimited", "Redact", "Retry", "RetryPolicy", "Signal", "Snooze", "Suspended", "Task", "WorkerEvent", "Workflow",
        "WorkflowHandle", "WorkflowProgress", "chain", "current_job", "errors", "group",
    ]  # fmt: skip
    assert all(getattr(pgqueue, name) for name in pgqueue.__all__)
    with pytest.raises(AttributeError, match="module 'pgqueue' has no attribute 'Manager'"):
        pgqueue.Manager  # noqa: B018


@pytest.mark.parametrize(
    ("home", "sync", "other"),
    [
        (Task, "enqueue", "aenqueue"),
        (Task, "enqueue_many", "aenqueue_many"),
        (App, "enqueue_many", "aenqueue_many"),
        (App, "connection", "aconnection"),
        (App, "close", "aclose"),
        (Waiters, "looks", "alooks"),
        (JobStore, "insert", "ainsert"),
        (JobStore, "ask", "aask"),
        (Pools, "connection", "aconnection"),
        (JobHandle, "job", "ajob"),
        (JobHandle, "result", "aresult"),
        (JobHandle, "why", "awhy"),
        (JobHandle, "cancel", "acancel"),
        (JobHandle, "revive", "arevive"),
        (JobHandle, "edit", "aedit"),
        (JobHandle, "signal", "asignal"),
        (run, "run", "run_async"),
        (run, "run_and_commit", "run_and_commit_async"),
        (flows, "drive", "drive_async"),
        (pgqueue.Job, "transaction", "atransaction"),
        (pgqueue.Job, "results", "aresults"),
        (App, "workflow", "aworkflow"),
        (App, "batch", "abatch"),
        (BatchHandle, "progress", "aprogress"),
        (BatchHandle, "state", "astate"),
        (BatchHandle, "seal", "aseal"),
        (BatchHandle, "cancel", "acancel"),
        (BatchHandle, "retry", "aretry"),
        (BatchHandle, "join", "ajoin"),
        (App, "enqueue_workflow", "aenqueue_workflow"),
        (JobStore, "insert_workflow", "ainsert_workflow"),
        (WorkflowHandle, "progress", "aprogress"),
        (WorkflowHandle, "state", "astate"),
        (WorkflowHandle, "job", "ajob"),
        (WorkflowHandle, "results", "aresults"),
        (WorkflowHandle, "cancel", "acancel"),
        (WorkflowHandle, "retry", "aretry"),
        (WorkflowHandle, "join", "ajoin"),
        (pgqueue.Job, "sleep", "asleep"),
        (pgqueue.Job, "wait_for", "await_for"),
    ],
)
def test_a_sync_function_and_its_async_variant_have_the_same_parameters(home, sync, other):
    one, two = (
        [
            parameter.replace(annotation=str(parameter.annotation).replace("AsyncConnection", "Connection"))
            for parameter in inspect.signature(getattr(home, name)).parameters.values()
        ]
        for name in (sync, other)
    )
    assert one == two


def coloured(home: type | ModuleType) -> set[str]:
    """Returns the public functions that a class or module itself defines, if their result must be awaited or entered by ``async with``."""
    return {
        name
        for name, value in vars(home).items()
        if not name.startswith("_")
        and inspect.isfunction(value)
        and (
            inspect.iscoroutinefunction(value)
            or inspect.isasyncgenfunction(inspect.unwrap(value))
            or "AbstractAsyncContextManager" in str(inspect.signature(value).return_annotation)
        )
    }


@pytest.mark.parametrize(
    "home", [App, Workflows, Enqueuer, Task, JobHandle, WorkflowHandle, pgqueue.Job, JobStore, Pools, Waiters]
)
def test_the_name_of_an_async_method_is_the_letter_a_and_the_name_of_the_sync_method(home):
    # leave_loop leaves the running event loop, and sync callers have none. Only servers, which are async, hurry for people.
    alone = {"leave_loop", "soon"}
    for name in coloured(home) - alone:
        assert name.startswith("a"), name
        assert hasattr(home, name[1:]), name


def test_the_name_of_an_async_function_of_the_database_is_the_name_of_the_sync_function_and_async():
    alone = {"wait_notified", "listen"}  # only callers on an event loop wait for notifications
    for home in (run, flows):
        for name in coloured(home) - alone:
            assert name.endswith("_async"), name
            assert hasattr(home, name.removesuffix("_async")), name


def test_using_has_the_same_options_as_the_sql_api():
    from pgqueue.model.options import RULES

    listed = re.search(
        r"known +constant text\[\] := array\[(.*?)\]", sql.functions()["check_jobs"], re.DOTALL
    )
    known = set(re.findall(r"\w+", listed.group(1))) - {
        "task",
        "args",
        "each",
        "keys",
        "idempotency_keys",
        "trace_context",
        "declared",
    }
    assert known == set(RULES)


def test_an_edit_in_python_can_change_and_remove_the_same_columns_as_an_edit_in_sql():
    from pgqueue.model.options import EDITABLE, REMOVABLE

    text = sql.functions()["edit"]
    listed = re.search(r"known +constant text\[\] := array\[(.*?)\];", text, re.DOTALL)
    assert re.findall(r"'(\w+)'", listed.group(1)) == list(EDITABLE)
    removable = re.search(r"e.value = 'null' and e.key not in \((.*?)\)", text)
    assert re.findall(r"'(\w+)'", removable.group(1)) == list(REMOVABLE)


# The modules and folders that are allowed to define async functions.
COLOURED = (
    "ui/access/access.py",
    "ui/api/",
    "model/declaring.py",
    "database/checks.py",
    "database/run.py",
    "database/flows.py",
    "database/link.py",
    "database/lock_waits.py",
    "database/outage.py",
    "database/sifting.py",
    "app/",
    "database/loop_pool.py",
    "database/pools.py",
    "database/reach.py",
    "database/opened.py",
    "runtime/services.py",
    "worker/",
    "maintenance/",
    "dev/demo/",
    "ui/acting/",
    "ui/bench/measuring.py",
    "ui/mcp/",
    "ui/reading/",
    "ui/tui/",
    "ui/web/",
    "integrations/",
)


def test_only_the_outermost_modules_define_async_functions():
    assert not [
        (module, node.name)
        for module, tree in MODULES.items()
        if not module.startswith(COLOURED)
        for node in ast.walk(tree)
        if isinstance(node, ast.AsyncFunctionDef)
    ]


# The modules that execute SQL without a statement file. They execute LISTEN and REINDEX, which take no parameters, or they change a setting of
# a session. A replay passes on the statements of a handler. The shop of the demo is a user of pgqueue.
EXECUTES = (
    "database/run.py",
    "database/lock_waits.py",
    "app/lookout.py",
    "worker/listener.py",
    "worker/heartbeat.py",
    "maintenance/indexes.py",
    "worker/replay/others.py",
    "worker/replay/recording.py",
    "dev/demo/",
    "ui/acting/performing.py",
    "ui/reading/reader.py",
    "database/for_django.py",  # on Django's connection, in a test
    "integrations/alembic.py",  # through the user's Alembic
    "integrations/testing/",  # databases of a run of tests
    "integrations/django/",
)


def test_only_the_database_module_executes_sql():
    assert not [
        (module, node.lineno)
        for module, tree in MODULES.items()
        if not module.startswith(EXECUTES)
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)
        if node.func.attr in {"execute", "executemany", "cursor", "copy"}
    ]


# The modules outside of telemetry that are allowed to import ``logging``, with the reason.
LOGGING = {
    "ui/cli/common.py": "it sets the level that the command line asks for",
    "text/shown.py": "a filter cleans the records of all lines",
}


def imported(node: ast.AST) -> list[str]:
    match node:
        case ast.Import():
            return [name.name for name in node.names]
        case ast.ImportFrom():
            return [str(node.module)]
        case _:
            return []


def test_only_telemetry_logs():
    """All other modules emit facts, and telemetry/log.py writes the log line of each fact."""
    log: set[str] = set()
    for module, tree in MODULES.items():
        if module.startswith("telemetry/"):
            continue
        for node in ast.walk(tree):
            if "logging" in imported(node):
                log.add(module)
            assert getattr(node, "id", getattr(node, "attr", "")) not in {"getLogger", "LOG"}, module
    assert log == set(LOGGING)


def constructed() -> Iterator[str]:
    """Yields, for each constructor, the name of the statement file that it loads."""
    homes = [tree for module, tree in MODULES.items() if module.startswith("database/statements/")]
    for node in (node for tree in homes for node in ast.walk(tree)):
        if isinstance(node, ast.FunctionDef) and not node.name.startswith("_"):
            for call in ast.walk(node):
                if isinstance(call, ast.Call) and getattr(call.func, "id", "") in (
                    "statement",
                    "noted",
                    "_insert",
                ):
                    assert call.args[0].value == node.name, "a constructor has the name of its file"
                    yield node.name


def test_dir_shows_the_public_names_before_they_are_imported():
    code = "import pgqueue; print(*dir(pgqueue))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    shown = [name for name in done.stdout.split() if not name.startswith("_")]
    assert sorted(shown) == sorted(pgqueue.__all__)
    assert all(hasattr(pgqueue, name) for name in dir(pgqueue))


def test_each_statement_has_one_constructor():
    assert sorted(constructed()) == sql.names()
    assert all(callable(getattr(statements, name)) for name in sql.names())


def test_each_sql_file_begins_with_a_comment_and_selects_columns_by_name():
    paths = sorted(PACKAGE.rglob("*.sql"))
    assert paths
    for path in paths:
        text = path.read_text()
        head = re.match(r"(?:--.*\n)+", text)
        assert head, path
        assert len(head.group()) > 40, path
        if path.parent.parent.name == "sql" and path.parent.name != "grants":
            assert not re.search(r"select\s+\*", text), path


def test_no_two_errors_have_the_same_code_and_the_tree_of_the_docstring_has_every_error():
    def descend(kind: type) -> Iterator[type]:
        yield kind
        for child in kind.__subclasses__():
            yield from descend(child)

    kinds = [kind for kind in descend(errors.PgQueueError) if kind.__module__.startswith(errors.__name__)]
    codes = [kind.code for kind in kinds if "code" in vars(kind)]
    assert len(codes) == len(set(codes))
    drawn = dict(re.findall(r"(\w+Error) +(PGQ-\d{3})", errors.__doc__))
    assert all(getattr(errors, name).code == code for name, code in drawn.items())
    assert {kind.__name__ for kind in kinds if "code" in vars(kind)} - set(drawn) == {"PgQueueError"}


def test_no_module_has_more_than_400_lines():
    names_only = PACKAGE / "database/statements/__init__.py"  # it only lists the names of all statements
    assert not [
        path
        for path in PACKAGE.rglob("*.py")
        if path != names_only and len(path.read_text().splitlines()) > 400
    ]


def test_the_filter_of_jobs_has_a_condition_for_each_of_its_fields():
    asked = set(re.findall(r"%\((\w+)\)", sql.FRAGMENTS["matching"]))
    named = {field.name for field in fields(statements.JobFilter)}
    assert asked == statements.JobFilter().parameters().keys() == {*named, "asked", "named_secrets"}
    assert all(sql.FRAGMENTS["matching"].count(f"%({name})") >= 2 for name in asked)


def test_each_sql_fragment_is_used_in_more_than_one_place():
    uses = Counter(
        found[3] for path in PACKAGE.rglob("*.sql") for found in sql.FRAGMENT.finditer(path.read_text())
    )
    assert uses.keys() == sql.FRAGMENTS.keys()
    assert min(uses.values()) > 1


def test_the_columns_of_a_fragment_get_the_given_alias_or_no_alias():
    assert sql.load("complete").count("j.trace_context") == sql.load("complete").count("f.trace_context") == 1
    assert "\n        tags, args, meta, trace_context,\n" in sql.load("complete")


def test_sql_is_printed_in_a_form_that_psql_can_run(capsys):
    main(["lock_running_job", "functions/cancel"])
    shown = capsys.readouterr().out
    assert "%" not in shown
    assert ":'job_id'::bigint" in shown
    assert "create or replace function pgqueue.cancel" in shown
    with pytest.raises(SystemExit, match="no SQL named nothing"):
        main(["nothing"])


def test_a_statement_with_optional_lines_is_printed_with_the_chosen_lines(capsys):
    main(["insert_job", "now", "wake_now"])
    shown = capsys.readouterr().out
    assert "--?" not in shown
    assert "pg_catalog.statement_timestamp(),\n    pg_catalog.statement_timestamp()\n" in shown
    assert ":'run_at'" not in shown
    assert "pgqueue.wake(j.queue)" in shown
    with pytest.raises(SystemExit, match=r"insert_job has no lines named nothing. It has: .*now"):
        main(["insert_job", "nothing"])
    with pytest.raises(SystemExit, match="complete has no lines named now"):
        main(["complete", "now"])
