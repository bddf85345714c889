"""``pgq work`` follows the user's logging configuration in every executor. No line is lost or written twice."""

from __future__ import annotations

import re
from pathlib import Path

import psycopg
import pytest

from pgqueue import App
from tests.command_line import pgq

APP = """
import logging, logging.config, sys
from pgqueue import App

{configuration}
app = App()

def task(executor):
    def handler() -> None:
        logging.getLogger("shop").info("handled on %s", executor)
    handler.__qualname__ = executor
    app.task(name=executor, executor=executor, retry=False)(handler)

task("thread")
task("process")

@app.task(name="async", retry=False)
async def on_the_loop() -> None:
    logging.getLogger("shop").info("handled on async")

@app.task(name="dies", retry=False)
def dies() -> None:
    raise ValueError("boom")
"""
CONSOLE = '"handlers": {"console": {"class": "logging.StreamHandler", "formatter": "f"}}, "formatters": {"f": {"format": "MINE %(levelname)s %(message)s"}}'
CONFIGURATIONS = {
    "basicConfig": 'logging.basicConfig(level=logging.INFO, format="MINE %(levelname)s %(message)s")',
    "dictConfig": f'logging.config.dictConfig({{"version": 1, {CONSOLE}, "root": {{"level": "INFO", "handlers": ["console"]}}}})',
    "a handler of the root": """
handler = logging.StreamHandler()
handler.setFormatter(logging.Formatter("MINE %(levelname)s %(message)s"))
logging.getLogger().addHandler(handler)
logging.getLogger().setLevel(logging.INFO)
""",
    "fileConfig": """
import io
logging.config.fileConfig(io.StringIO('''
[loggers]
keys=root
[handlers]
keys=console
[formatters]
keys=f
[logger_root]
level=INFO
handlers=console
[handler_console]
class=StreamHandler
args=(sys.stderr,)
formatter=f
[formatter_f]
format=MINE %(levelname)s %(message)s
'''))
""",
}
BROKEN = {
    "a filter": """
handler = logging.StreamHandler()
handler.addFilter(lambda record: record.request_id)
logging.getLogger().addHandler(handler)
""",
    "a handler that exits": """
class Exits(logging.Handler):
    def handle(self, record):
        if record.name != "shop":
            raise SystemExit(3)
logging.getLogger().addHandler(Exits())
""",
    "a record factory": """
usual = logging.getLogRecordFactory()
def failing(name, *others, **more):
    return usual(name, *others, **more) if name == "shop" else 1 / 0
logging.setLogRecordFactory(failing)
""",
    "a closed stderr": "sys.stderr.close()",
}
TASKS = ("async", "thread", "process")


def work(folder: Path, dsn: str, configuration: str, *options: str) -> list[str]:
    """Runs one job of each task with ``pgq work --drain``, and returns the lines that the worker logged."""
    (folder / "shop.py").write_text(APP.replace("{configuration}", configuration))
    app = App(dsn)
    for name in (*TASKS, "dies"):
        app.task(name=name, retry=False)(_nothing).enqueue()
    app.close()
    done = pgq("work", "-A", "shop", "--drain", *options, cwd=folder, dsn=dsn, env={"TZ": "Asia/Kathmandu"})
    assert done.returncode == 0, done.stderr
    return done.stderr.splitlines()


def _nothing() -> None: ...


@pytest.mark.parametrize("configuration", CONFIGURATIONS)
def test_each_line_of_the_log_is_written_once_and_in_the_format_of_the_user(
    watched, tmp_path, configuration
) -> None:
    lines = work(tmp_path, watched, CONFIGURATIONS[configuration])
    for name in TASKS:
        assert lines.count(f"MINE INFO handled on {name}") == 1, lines
    [dead] = [line for line in lines if "(dies) is dead" in line]
    assert dead.startswith("MINE ERROR ")
    assert all(line.startswith("MINE ") for line in lines if "worker " in line)


def test_lines_have_a_time_with_a_zone_if_the_user_configures_no_logging(watched, tmp_path) -> None:
    lines = work(tmp_path, watched, "", "--log-jobs")
    [dead] = [line for line in lines if "(dies) is dead" in line]
    assert re.match(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}\+05:45 ERROR   job ", dead)
    ended = [
        re.search(
            r"INFO    job \d+ \((\w+)\) completed in \d+\.\d{4} s, attempt 1 of 1, queue default$", line
        )
        for line in lines
    ]
    assert sorted(match[1] for match in ended if match) == sorted(TASKS)
    assert sum("(dies)" in line for line in lines) == 1


def test_the_options_v_and_quiet_set_the_log_level(watched, tmp_path) -> None:
    assert any(" DEBUG " in line for line in work(tmp_path, watched, "", "-v"))
    quiet = work(tmp_path, watched, CONFIGURATIONS["basicConfig"], "--quiet")
    assert not [line for line in quiet if "worker " in line]
    assert [line for line in quiet if "is dead" in line]


@pytest.mark.parametrize("configuration", BROKEN)
def test_a_logging_configuration_that_fails_changes_no_outcome_in_any_executor(
    watched, tmp_path, configuration
) -> None:
    lines = work(tmp_path, watched, BROKEN[configuration], "-v", "--log-jobs")
    assert not [line for line in lines if "bug" in line]
    with psycopg.connect(watched) as db:
        ended = db.execute("select task, state, attempt from pgqueue.jobs order by task").fetchall()
    assert ended == [
        (name, "dead" if name == "dies" else "completed", 1) for name in sorted((*TASKS, "dies"))
    ]
