"""``pgq jobs replay``."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import signal
import subprocess
import sys
import termios
from pathlib import Path

from tests.factories import add_jobs, count
from tests.waiting import wait_until


def test_a_replay_shows_what_the_handler_did_and_changes_nothing(pgq, db):
    db.execute("create table public.effects (n int)")
    [job_id] = add_jobs(db, task="replayed", args='{"n": 7}')
    done = pgq("jobs", "replay", str(job_id), "--dry-run", "--yes")
    assert done.code == 0, done.err
    for part in (
        f"{job_id}  replayed, pending; replayed as attempt 1", "insert into public.effects", "public.effects", "n=7",
        "would call charge(7)", "With --run-steps", "rolled back",
    ):  # fmt: skip
        assert part in done.out, part
    assert "printed by the handler" in done.err
    assert count(db, "checkpoints") == db.execute("select count(*) from public.effects").fetchone()[0] == 0


def test_a_replay_as_json_has_the_steps_the_rows_and_the_value(pgq, db):
    db.execute("create table public.effects (n int)")
    [job_id] = add_jobs(db, task="replayed", args='{"n": 7}')
    done = pgq("jobs", "replay", str(job_id), "--dry-run", "--yes", "--run-steps", "--json")
    said = json.loads(done.out)
    assert (said["id"], said["task"], said["was"], said["ended"], said["value"]) == (
        job_id,
        "replayed",
        "pending",
        "returned",
        '"paid 7"',
    )
    [session] = said["sessions"]
    [write] = session["writes"]
    assert (write["table"], write["inserted"], write["rows"]) == ("effects", 1, [{"n": 7}])
    [statement] = said["statements"]
    assert (statement["text"], statement["rows"]) == ("insert into public.effects values (%s)", 1)


def test_an_error_of_the_handler_has_its_own_exit_code(pgq, db):
    [job_id] = add_jobs(db, task="fail", max_attempts=1)
    done = pgq("jobs", "replay", str(job_id), "--dry-run", "-y")
    assert (
        done.code,
        "ValueError: boom" in done.out,
        "make the job dead (attempts_exhausted)" in done.out,
    ) == (10, True, True)
    assert "raise ValueError" in done.out


def test_what_cannot_be_replayed_is_refused_with_a_sentence(pgq, db):
    [job_id, other] = add_jobs(db, task="fail", count=2)
    done = pgq("jobs", "replay", str(job_id))
    assert (
        done.code,
        "only possible with --dry-run" in done.err,
        f"pgq jobs revive {job_id}" in done.err,
    ) == (2, True, True)
    done = pgq("jobs", "replay", str(job_id), "--dry-run")
    assert (done.code, "stdin is no terminal" in done.err, "--yes" in done.err) == (2, True, True)
    assert pgq("jobs", "replay", "999", "--dry-run", "--yes").code == 5
    db.execute("update pgqueue.jobs_live set task = 'elsewhere' where id = %s", [other])
    done = pgq("jobs", "replay", str(other), "--dry-run", "--yes")
    assert (done.code, "PGQ-303" in done.err) == (5, True)
    [wrong] = add_jobs(db, task="greet", args='{"nam": 1}')
    done = pgq("jobs", "replay", str(wrong), "--dry-run", "--yes")
    assert (done.code, "PGQ-401" in done.err) == (2, True)


def replay(dsn: str, folder: Path, job_id: int, *options: str) -> subprocess.Popen[str]:
    command = [
        sys.executable,
        "-m",
        "pgqueue",
        "jobs",
        "replay",
        str(job_id),
        "--dry-run",
        "-A",
        "shop:app",
        *options,
    ]
    environment = {**os.environ, "PGQUEUE_DSN": dsn, "PYTHONPATH": str(Path(__file__).parents[2])}
    return subprocess.Popen(
        command, cwd=folder, env=environment, text=True, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )  # fmt: skip


def test_ctrl_c_and_a_timeout_end_a_handler_that_hangs(pgq, db, dsn, tmp_path):
    [job_id] = add_jobs(db, task="hanging")
    process = replay(dsn, tmp_path, job_id, "--yes")
    wait_until((tmp_path / "begun").exists)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert (process.returncode, "Ctrl-C has ended the replay." in out, "Traceback" in err) == (
        130,
        True,
        False,
    )
    done = pgq("jobs", "replay", str(job_id), "--dry-run", "--yes", "--timeout", "200ms")
    assert (done.code, "The handler was stopped after 0.2 s." in done.out) == (9, True)


def test_the_process_ends_although_a_thread_of_the_handler_goes_on(pgq, db, dsn, tmp_path):
    [job_id] = add_jobs(db, task="threading")
    process = replay(dsn, tmp_path, job_id, "--yes")
    out, _ = process.communicate(timeout=60)
    assert (process.returncode, "1 thread of the handler did not end" in out) == (0, True)


def ask(folder, dsn, job_id: int, answer: bytes) -> tuple[int, str]:
    """Runs the command on a terminal, and types the answer. Returns the exit code, and what the terminal shows."""
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "pgqueue", "jobs", "replay", str(job_id), "--dry-run", "-A", "shop:app"]
    environment = {**os.environ, "PGQUEUE_DSN": dsn, "PYTHONPATH": str(Path(__file__).parents[2])}
    process = subprocess.Popen(
        command, cwd=folder, env=environment, stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True,
        preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),  # noqa: PLW1509
    )  # fmt: skip
    os.close(theirs)
    shown = b""
    while b"Go on?" not in shown:
        shown += os.read(ours, 1000)
    os.write(ours, answer)
    try:
        while part := os.read(ours, 1000):
            shown += part
    except OSError:  # the terminal is closed
        pass
    os.close(ours)
    return process.wait(), shown.decode()


def test_the_command_asks_first_and_calls_nothing_after_a_no_or_ctrl_c(pgq, db, dsn, tmp_path):
    [job_id] = add_jobs(db, task="greet", args='{"name": "Ada"}')
    code, shown = ask(tmp_path, dsn, job_id, b"n\n")
    assert (code, "not undone" in shown, "no handler was called" in shown, "Hello" in shown) == (
        0,
        True,
        True,
        False,
    )
    code, shown = ask(tmp_path, dsn, job_id, b"\x03")
    assert (code, "Traceback" in shown, "PGQ" in shown, "Hello" in shown) == (130, False, False, False)
    code, shown = ask(tmp_path, dsn, job_id, b"y\n")
    assert (code, "Hello, Ada" in shown) == (0, True)
