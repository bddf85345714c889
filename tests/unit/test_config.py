"""Tests of settings: from which places they are read, and which values they can have. No password is ever shown."""

from __future__ import annotations

import math
from datetime import timedelta

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from pgqueue import App
from pgqueue.database.dsn import redact
from pgqueue.errors import (
    InvalidNameError,
    InvalidOptionError,
    InvalidSettingError,
)
from pgqueue.model.names import check_name
from pgqueue.model.units import seconds, size, written_size
from pgqueue.worker.claiming.served_queues import parse_queues
from pgqueue.worker.settings import settings_for

SECRET = "S3cr3T"
ODD = st.text(alphabet="ab1@:/?#&=%' \\.,[]", max_size=4)


@pytest.mark.parametrize(
    "shape",
    [
        "postgresql://user:{}@host:5432/database",
        "postgres://user:{}@/database?host=/run/postgresql",
        "postgresql+psycopg://:{}@[::1]:1,other/database?sslmode=require",
        "postgresql://host/database?user=me&password={}&sslmode=require",
        "postgresql://host/database?PASSWORD={}",
        "postgresql://host/database?sslpassword={}",
        "host=h password={} dbname=d",
        "password='{}' host=h",
        "host=h password = {}",
    ],
)
@given(before=ODD, after=ODD)
@example("", "")
@example("://", "")
@example("' host=", "")
@example("p@", "?x@y")
@example("", "\\' host=")
def test_no_password_is_ever_shown(shape, before, after):
    assert SECRET not in redact(shape.format(before + SECRET + after))


@given(st.text())
def test_any_text_at_all_can_be_redacted(text):
    redact(text)


@pytest.mark.parametrize(
    ("dsn", "shown"),
    [
        ("postgresql://me:secret@host:5432/shop", "postgresql://me@host:5432/shop"),
        ("postgresql:///shop?host=/run/pg&user=me", "postgresql:///shop?host=/run/pg&user=me"),
        ("host=h port=1 dbname='my shop' password=x", "host=h port=1 dbname='my shop'"),
        ("application_name=x", "(DSN without a host)"),
        ("nonsense", "(unreadable DSN)"),
        ("", "libpq's PG* variables"),
    ],
)
def test_a_redacted_dsn_still_shows_the_server_and_the_database(dsn, shown):
    assert redact(dsn) == shown


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (90, 90),
        (0.5, 0.5),
        (-5, 0),
        ("90", 90),
        ("90s", 90),
        ("5m", 300),
        ("1h30m", 5400),
        ("2d", 172_800),
        (" 1.5h ", 5400),
        (timedelta(minutes=2), 120),
        (timedelta(seconds=-2), 0),
    ],
)
def test_durations_are_read_in_every_form(value, expected):
    assert seconds(value, "delay") == expected


@pytest.mark.parametrize(
    "value",
    [
        math.nan,
        math.inf,
        -math.inf,
        1e18,
        -1e18,
        timedelta.max,
        "",
        " ",
        "soon",
        "-5",
        "1x",
        "1h 30",
        True,
        None,
        "٣s",
    ],
)
def test_the_error_about_a_bad_duration_contains_the_name_of_the_option(value):
    with pytest.raises(InvalidOptionError, match="PGQ-404  delay is"):
        seconds(value, "delay")


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("512M", 512 * 2**20),
        ("1.5G", 3 * 2**29),
        ("64MiB", 2**26),
        ("10kB", 10_240),
        ("7", 7),
        (8, 8),
        (" 1T ", 2**40),
    ],
)
def test_sizes_are_read_in_units_of_1024(text, count):
    assert size(text, "--max-rss") == count


@pytest.mark.parametrize("text", ["512M", "1.5G", "16T", "7", "1K", "2000T"])
def test_sizes_are_written_as_they_are_read(text):
    assert written_size(size(text, "--max-rss")) == text


@pytest.mark.parametrize("text", ["", "M", "-1M", "1 000", "1P", "1e9", "٣M", True, None, 1.5e300])
def test_the_error_about_a_bad_size_contains_the_name_of_the_option(text):
    with pytest.raises(InvalidSettingError, match="--max-rss is"):
        size(text, "--max-rss")


@pytest.mark.parametrize(
    ("text", "queues"),
    [
        ("default", {"default": None}),
        ("mail:20, default", {"mail": 20, "default": None}),
        ("a:b:3", {"a:b": 3}),
        ("a:b", {"a:b": None}),
        ("a:b2,a:b-2", {"a:b2": None, "a:b-2": None}),
        ("a:2b:10,a:*", {"a:2b": 10, "a:*": None}),
    ],
)
def test_queues_are_read_with_their_slots(text, queues):
    assert parse_queues(text) == queues


@pytest.mark.parametrize("slots", ["2O", "20O", "1.5", "0", "10001", "9" * 50, "007x", "1_0", "2-", "2*"])
def test_slots_that_are_no_number_are_refused_and_do_not_count_as_a_part_of_the_name(slots):
    with pytest.raises(InvalidSettingError) as refused:
        parse_queues(f"default,mail:{slots}", "queues of [tool.pgqueue]")
    assert refused.value.what == f"Queue 'mail' asks for '{slots}' slots in queues of [tool.pgqueue]."
    assert f"if the number is part of the name, add another number: mail:{slots}:10" in refused.value.do


def test_the_queues_of_an_app_are_served_even_if_their_names_end_like_slots(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    app = App("")
    app.task(name="t", queue="mail:2nd")(lambda: None)
    app.task(name="u", queue="mail:20")(lambda: None)
    assert settings_for(app).queues == dict.fromkeys(["default", "mail:20", "mail:2nd"])


@pytest.mark.parametrize("text", ["mail:0", "mail:10001", "mail,mail", "mail:1,mail:2"])
def test_slots_out_of_range_and_queues_that_are_listed_twice_are_refused(text):
    with pytest.raises(InvalidSettingError):
        parse_queues(text)


BAD_NAMES = [
    "",
    " ",
    "a b",
    "1a",
    "a;b",
    "a'b",
    '"a"',
    "../a",
    "a\x00",
    "a\u200b",
    "\u202ea",
    "é",
    "e\u0301",
    "🙂",
    "a\n",
    "x" * 128,
    None,
    7,
]


@pytest.mark.parametrize("kind", ["queue", "task"])
@pytest.mark.parametrize("name", BAD_NAMES)
def test_odd_names_are_refused(kind, name):
    with pytest.raises(InvalidNameError, match=f"PGQ-405 .* cannot name a {kind}"):
        check_name(kind, name)


def test_names_up_to_their_limit_are_accepted():
    assert check_name("queue", "q" * 63)
    assert check_name("task", "t" * 127)
    with pytest.raises(InvalidNameError):
        check_name("queue", "q" * 64)
