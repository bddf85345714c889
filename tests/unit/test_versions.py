"""Tests of the versions of apps and tasks, as code declares them."""

from __future__ import annotations

from typing import Any

import pytest

from pgqueue import App, Job
from pgqueue.errors import InvalidOptionError
from pgqueue.model.versions import Versions


def nothing() -> None: ...


def test_a_task_accepts_its_own_version_alone_unless_it_says_more() -> None:
    app = App()
    assert app.task(name="a", version=4)(nothing).spec.accepts == (4,)
    assert app.task(name="b", version=4, accepts=[4, 3, 3])(nothing).spec.accepts == (3, 4)
    plain = app.task(name="c")(nothing).spec
    assert (plain.version, plain.accepts) == (None, ())
    specs = [task.spec for task in app.tasks.values()]
    assert Versions.of("1.2", specs) == ("1.2", ("a@4", "b@3", "b@4"))


def test_a_task_of_chunks_has_a_version_too() -> None:
    app = App()

    @app.task(name="many", chunk=10, version=2)
    def many(jobs: list[Job]) -> None: ...

    assert many.spec.accepts == (2,)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"accepts": (3,)}, "accepts is given without version"),
        ({"version": 0}, "version is 0"),
        ({"version": 32_768}, "version is 32768"),
        ({"version": True}, "version is True"),
        ({"version": "4"}, "version is '4'"),
        ({"version": 4, "accepts": (3,)}, "leaves out version 4 of the task itself"),
        ({"version": 4, "accepts": "34"}, "accepts is '34'"),
        ({"version": 4, "accepts": 4}, "accepts is 4"),
        ({"version": 4, "accepts": (4, "3")}, "accepts contains '3'"),
        ({"version": 4, "accepts": (4, -1)}, "accepts contains -1"),
    ],
)
def test_a_wrong_version_is_refused_where_the_task_is_declared(options: dict[str, Any], says: str) -> None:
    with pytest.raises(InvalidOptionError, match=says):
        App().task(name="t", **options)(nothing)


def test_the_error_about_a_version_that_is_left_out_shows_the_right_option() -> None:
    with pytest.raises(InvalidOptionError) as caught:
        App().task(name="t", version=4, accepts=(2, 3))(nothing)
    assert caught.value.do == "add it: accepts=(2, 3, 4)"


@pytest.mark.parametrize("version", [1, b"1", "", "x" * 256, "a\x00", "\ud800"])
def test_the_version_of_an_app_is_a_text_that_can_be_stored(version: Any) -> None:
    with pytest.raises(InvalidOptionError, match="version of the app"):
        App(version=version)
    assert App(version="2026.11.30").version == "2026.11.30"
