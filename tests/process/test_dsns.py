"""A DSN that is wrong, in each way in which people write it wrong: one clear sentence, no traceback, and the password is nowhere."""

from __future__ import annotations

from itertools import cycle

import pytest

from tests.command_line import pgq

SECRET = "hunter2sesame"
NOWHERE = "127.0.0.1:1"  # nobody listens here

# Most of these cannot be parsed; the others lead to no server. Each contains the password.
WRONG = [
    f"postgresql://ann:{SECRET}@{NOWHERE}/shop",
    f"postgresql://ann:{SECRET}@{NOWHERE}/shop?sslmode=nonsense",
    f"postgresql://ann:{SECRET}@{NOWHERE}/shop?password={SECRET}",
    f"postgresql://ann:{SECRET}@{NOWHERE}/shop?no_such_option=1",
    f"postgresql://ann:{SECRET}@{NOWHERE}/shop?{SECRET}",
    f"postgresql://ann:{SECRET}@{NOWHERE}/shop#{SECRET}",
    f"postgresql://ann:{SECRET}@127.0.0.1:port/shop",
    f"postgresql://ann:{SECRET}@127.0.0.1:99999/shop",
    f"postgresql://ann:{SECRET}@127.0.0.1:-1/shop",
    f"postgresql://ann:{SECRET}@[::1/shop",
    f"postgresql://ann:{SECRET}@]{NOWHERE}/shop",
    f"postgresql://ann:{SECRET}%zz@{NOWHERE}/shop",
    f"postgresql://ann:%00{SECRET}@{NOWHERE}/shop",
    f"postgresql://ann:a@b:{SECRET}@{NOWHERE}/shop",
    f"postgresql://ann:a/{SECRET}@{NOWHERE}/shop",
    f"postgresql://ann:a?{SECRET}@{NOWHERE}/shop",
    f"postgresql://ann:a#{SECRET}@{NOWHERE}/shop",
    f"postgresql://ann:a {SECRET}@{NOWHERE}/shop",
    f"postgresql://:{SECRET}@{NOWHERE}",
    f"postgresql:ann:{SECRET}@{NOWHERE}/shop",
    f"postgresql:/ann:{SECRET}@{NOWHERE}/shop",
    f"postgres//ann:{SECRET}@{NOWHERE}/shop",
    f"mysql://ann:{SECRET}@{NOWHERE}/shop",
    f"jdbc:postgresql://ann:{SECRET}@{NOWHERE}/shop",
    f"postgresql+asyncpg://ann:{SECRET}@{NOWHERE}/shop",
    f"ann:{SECRET}@{NOWHERE}/shop",
    f"host=127.0.0.1 port=1 user=ann password={SECRET}",
    f"host=127.0.0.1 port=1 user=ann password='{SECRET}",
    f"host=127.0.0.1 port=1 user=ann password={SECRET} shop",
    f"host=127.0.0.1 port=one password={SECRET}",
    f"host=127.0.0.1 port=1 pasword={SECRET}",
    f"host=127.0.0.1 port=1 password = '{SECRET}\\",
    f"host:127.0.0.1, password:{SECRET}",
    f"service=no_such_service password={SECRET}",
    f"'postgresql://ann:{SECRET}@{NOWHERE}/shop'",
    f"postgresql://ann:{SECRET}@{NOWHERE}/shop\npostgresql://",
    f"PGQUEUE_DSN=postgresql://ann:{SECRET}@{NOWHERE}/shop",
    f"{SECRET}",
]
COMMANDS = cycle((
    ("queues", "list"), ("migrate",), ("doctor",), ("jobs", "list", "--json"), ("enqueue", "mail.send"), ("cron", "list"),
    ("work", "-A", "tests.apps.workload:app", "--drain", "--wait-for-db", "0"), ("stats",), ("health",),
))  # fmt: skip


@pytest.mark.parametrize(("dsn", "command"), list(zip(WRONG, COMMANDS, strict=False)), ids=range(len(WRONG)))
def test_a_wrong_dsn_is_refused_in_a_sentence_without_its_password(dsn, command, tmp_path):
    done = pgq(*command, dsn=dsn, cwd=tmp_path)
    said = done.stdout + done.stderr
    assert done.returncode not in (0, None), said
    assert SECRET not in said
    assert "Traceback" not in said
    assert done.stderr.strip() or done.stdout.strip()
    assert len(done.stderr) < 1500, done.stderr
