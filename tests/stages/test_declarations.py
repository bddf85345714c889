"""Schedules that code declares become rows. The rows stay correct while two deploys run, after rollbacks, and after edits by people."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from psycopg import Connection

from pgqueue import App
from pgqueue.database import statements
from pgqueue.database.run import run
from pgqueue.errors import InvalidNameError
from pgqueue.maintenance.declarations import Declarations
from pgqueue.model.schedule import Schedule
from pgqueue.model.task import TaskSpec
from pgqueue.ui.cli.doctor import examine
from tests.schedules_by_hand import add

HEARTBEAT = 1.0  # seconds: with this heartbeat, a set of schedules expires 30 s after a worker last synced it


def hourly(name: str, minute: int = 0, **columns: Any) -> Schedule:
    return Schedule(name=name, task="t", cron=f"{minute} * * * *", **columns)


def sync(db: Connection[Any], *schedules: Schedule, app: str = "shop:app") -> dict[str | None, str]:
    """Syncs schedules as a worker of their deploy does, at its start and repeatedly after it.

    Returns what happened to each schedule, by its name, and what happened to the whole set, under None. Schedules to which nothing
    happened are left out.
    """
    return dict(run(db, Declarations(app, schedules, HEARTBEAT).sync()))


def rows(db: Connection[Any]) -> dict[str, str]:
    return dict(db.execute("select name, cron from pgqueue.schedules order by name").fetchall())


def expire_set(db: Connection[Any], *schedules: Schedule) -> None:
    """Makes the set of these schedules expire. In reality it expires half a minute after the last worker of their deploy has ended."""
    fingerprint = Declarations("", schedules, HEARTBEAT)._fingerprint
    db.execute(
        "update pgqueue.schedule_sets set expires_at = now() - interval '1 s' where fingerprint = %s",
        [fingerprint],
    )


def test_rows_of_declared_schedules_are_added_changed_and_removed_as_the_code_changes(
    db: Connection[Any],
) -> None:
    assert sync(db) == {None: "none"}
    assert sync(db, hourly("a"), hourly("b")) == {"a": "added", "b": "added", None: "applied"}
    assert sync(db, hourly("a"), hourly("b")) == {None: "current"}
    assert sync(db, hourly("a", 5), hourly("c")) == {
        "a": "changed", "b": "removed", "c": "added", None: "applied",
    }  # fmt: skip
    assert rows(db) == {"a": "5 * * * *", "c": "0 * * * *"}
    expire_set(db, hourly("a", 5), hourly("c"))
    assert sync(db) == {"a": "removed", "c": "removed", None: "applied"}
    assert rows(db) == {}


def test_every_column_of_a_declared_schedule_is_stored(db: Connection[Any]) -> None:
    schedule = Schedule(
        name="a", task="t", every=90.0, tz="Europe/Warsaw", overlap="skip", missed="all", missed_cap=7, jitter=2.5,
        args='{"n": 1}', options={"queue": "mail"},
    )  # fmt: skip
    sync(db, schedule)
    [row] = run(db, statements.list_schedules())
    anchor = row.schedule.anchor
    assert row.schedule == Schedule(**{**vars(schedule), "anchor": anchor})
    assert row.source == "code"
    sync(db, Schedule(**{**vars(schedule), "jitter": 0.0}))
    [row] = run(db, statements.list_schedules())
    assert row.schedule.anchor == anchor, "a deploy does not move the fire times of an interval"


def test_an_older_deploy_changes_nothing_until_the_newer_deploy_is_rolled_back(
    db: Connection[Any],
) -> None:
    old, new = (hourly("a"), hourly("gone")), (hourly("a", 30), hourly("fresh"))
    sync(db, *old)
    sync(db, *new)
    for _ in range(3):  # workers of both deploys sync again and again
        assert sync(db, *old) == {None: "older"}
        assert sync(db, *new) == {None: "current"}
    assert rows(db) == {"a": "30 * * * *", "fresh": "0 * * * *"}
    expire_set(db, *new)
    assert sync(db, *old) == {"a": "changed", "fresh": "removed", "gone": "added", None: "applied"}
    assert sync(db, *new) == {None: "older"}, (
        "the last worker of a deploy that was rolled back changes nothing"
    )
    assert rows(db) == {"a": "0 * * * *", "gone": "0 * * * *"}


def test_an_older_deploy_without_schedules_removes_nothing_until_the_newer_deploy_is_rolled_back(
    db: Connection[Any],
) -> None:
    assert sync(db) == {None: "none"}
    sync(db, hourly("a"))
    assert sync(db) == {None: "older"}
    assert sync(db, hourly("a")) == {None: "current"}
    expire_set(db, hourly("a"))
    assert sync(db) == {"a": "removed", None: "applied"}


def test_schedules_of_other_apps_and_sources_are_never_changed(db: Connection[Any]) -> None:
    add(db, "mine", cron="7 * * * *")
    db.execute(
        "insert into pgqueue.schedules (name, task, cron, source) values ('typed', 't', '8 * * * *', 'cli')"
    )
    sync(db, hourly("theirs"), app="other:app")
    assert sync(db, hourly("mine"), hourly("theirs"), hourly("a")) == {
        "mine": "foreign", "theirs": "foreign", "a": "added", None: "applied",
    }  # fmt: skip
    expire_set(db, hourly("mine"), hourly("theirs"), hourly("a"))
    sync(db)
    assert rows(db) == {"mine": "7 * * * *", "typed": "8 * * * *", "theirs": "0 * * * *"}


def test_a_renamed_app_takes_over_its_schedules(db: Connection[Any]) -> None:
    sync(db, hourly("a"), app="shop:app")
    expire_set(db, hourly("a"))
    assert sync(db, hourly("a", 5), app="store:app") == {"a": "changed", None: "applied"}
    assert db.execute("select app, cron from pgqueue.schedules").fetchall() == [("store", "5 * * * *")]


def test_a_deploy_keeps_pauses_of_schedules_and_edits_of_schedules_whose_declaration_is_unchanged(
    db: Connection[Any],
) -> None:
    sync(db, hourly("a"), hourly("b"))
    db.execute("update pgqueue.schedules set paused = true where name = 'a'")
    db.execute("update pgqueue.schedules set cron = '59 * * * *' where name = 'b'")
    sync(db, hourly("a", 1), hourly("b"))
    assert rows(db) == {"a": "1 * * * *", "b": "59 * * * *"}, "b's declaration has not changed"
    assert db.execute("select name from pgqueue.schedules where paused").fetchall() == [("a",)]
    sync(db, hourly("a", 1), hourly("b", 2))
    assert rows(db) == {"a": "1 * * * *", "b": "2 * * * *"}


def test_a_sync_is_tried_again_soon_if_another_sync_of_the_same_app_is_not_committed_yet(
    db: Connection[Any], connect: Callable[..., Connection[Any]], caplog: pytest.LogCaptureFixture
) -> None:
    one = connect(autocommit=False)
    sync(one, hourly("a"))
    declarations = Declarations("shop:app", [hourly("b")], HEARTBEAT)
    answer = run(db, declarations.sync())
    assert answer == [(None, "busy")]
    declarations.note(answer)
    assert declarations._pause == 1.0
    one.commit()
    declarations.note(run(db, declarations.sync()))
    assert rows(db) == {"b": "0 * * * *"}
    assert declarations._pause == 12 * HEARTBEAT


def test_a_sync_that_fails_changes_nothing(db: Connection[Any]) -> None:
    import psycopg

    sync(db, hourly("a"))
    db.execute(
        "create function public.refuse() returns trigger language plpgsql as $$ begin raise 'no'; end $$;"
        " create trigger refuse before insert on pgqueue.schedules for each row when (new.name = 'z')"
        " execute function public.refuse()"
    )
    with pytest.raises(psycopg.errors.RaiseException):
        sync(db, hourly("b"), hourly("z"))
    assert rows(db) == {"a": "0 * * * *"}
    assert sync(db, hourly("a")) == {None: "current"}


def service(name: str, *schedules: Schedule, app: str = "app", **options: Any) -> Declarations:
    """Returns the declarations of a worker of a service.

    A service is a program that is deployed separately. Here it has one task, and this task has the name of the service.
    """
    tasks = [TaskSpec(name=name, function=_nothing)]
    mine = [replace(schedule, task=name) for schedule in schedules]
    return Declarations(app, mine, HEARTBEAT, tasks, **options)


def start(db: Connection[Any], declarations: Declarations) -> dict[str | None, str]:
    run(db, declarations.sync_tasks())
    return dict(run(db, declarations.sync()))


def _nothing() -> None: ...


def test_two_services_with_the_same_name_do_not_remove_each_others_schedules(db: Connection[Any]) -> None:
    billing, mailer = service("billing", hourly("nightly")), service("mailer", hourly("digest"))
    for _ in range(3):
        start(db, billing)
        start(db, mailer)
    assert rows(db) == {"digest": "0 * * * *", "nightly": "0 * * * *"}
    # Both services are stopped.
    db.execute("update pgqueue.schedule_sets set expires_at = now() - interval '1 s'")
    assert start(db, service("mailer", hourly("digest", 7))) == {
        "digest": "changed", "nightly": "kept", None: "applied",
    }  # fmt: skip
    assert start(db, service("billing", hourly("nightly", 8))) == {
        "nightly": "changed", "digest": "kept", None: "applied",
    }  # fmt: skip
    assert rows(db) == {"digest": "7 * * * *", "nightly": "8 * * * *"}


def test_the_rollback_of_a_service_does_not_wait_for_another_service_with_the_same_name(
    db: Connection[Any],
) -> None:
    start(db, service("billing", hourly("nightly")))
    start(db, service("mailer", hourly("digest")))
    start(db, service("billing", hourly("nightly", 5)))
    start(db, service("mailer", hourly("digest", 5)))
    db.execute(
        "update pgqueue.schedule_sets set expires_at = now() - interval '1 s' where tasks = '{billing}'"
    )
    assert start(db, service("billing", hourly("nightly"))) == {
        "nightly": "changed",
        "digest": "kept",
        None: "applied",
    }


def test_a_schedule_is_removed_a_week_after_its_task_was_last_declared(
    db: Connection[Any], caplog: pytest.LogCaptureFixture
) -> None:
    start(db, service("former", hourly("a")))
    now = service("latter", hourly("b"))
    run(db, now.sync_tasks())
    now.note(run(db, now.sync()))
    assert "give each app a name of its own" in caplog.text
    assert rows(db) == {"a": "0 * * * *", "b": "0 * * * *"}
    db.execute("update pgqueue.tasks set seen_at = now() - interval '8 days' where name = 'former'")
    assert start(db, service("latter", hourly("b", 1))) == {"a": "removed", "b": "changed", None: "applied"}


def test_a_schedule_that_is_no_longer_in_the_code_is_removed_immediately_if_its_app_has_a_chosen_name(
    db: Connection[Any],
) -> None:
    start(db, service("former", hourly("a"), named=True))
    assert start(db, service("latter", hourly("b"), named=True)) == {
        "a": "removed",
        "b": "added",
        None: "applied",
    }


def test_an_app_takes_over_schedules_of_its_former_name_when_the_workers_of_that_name_are_gone(
    db: Connection[Any],
) -> None:
    start(db, service("t", hourly("a"), app="old"))
    new = service("t", hourly("a", 9), app="new")
    assert start(db, new) == {"a": "foreign", None: "applied"}
    assert start(db, new) == {"a": "foreign", None: "current"}
    db.execute("update pgqueue.schedule_sets set expires_at = now() - interval '1 s' where app = 'old'")
    assert start(db, new) == {"a": "changed", None: "current"}
    assert start(db, new) == {None: "current"}
    assert rows(db) == {"a": "9 * * * *"}


def test_a_worker_of_an_older_version_that_sends_the_path_of_its_app_belongs_to_the_same_app(
    db: Connection[Any],
) -> None:
    old = "select what from pgqueue.sync_schedules('shop:app', 'f', '[]', 30)"
    start(db, service("t", hourly("a"), app="shop"))
    assert db.execute(old).fetchall() == [("older",)]
    assert rows(db) == {"a": "0 * * * *"}


def test_an_app_has_the_name_of_the_module_that_makes_it_unless_a_name_is_chosen() -> None:
    class Own(App):
        def __init__(self) -> None:
            super().__init__("")

    assert App("").name == Own().name == __name__
    assert (App("").named, App("", name="shop").named, App("", name="shop").name) == (False, True, "shop")
    with pytest.raises(InvalidNameError):
        App("", name="a b")


def test_the_doctor_reports_several_services_with_the_same_name(db: Connection[Any]) -> None:
    start(db, service("billing", hourly("nightly")))
    start(db, service("billing", hourly("nightly", 5)))  # a new deploy of the same service
    assert run(db, statements.list_shared_names()) == []
    start(db, service("mailer", hourly("digest")))
    assert run(db, statements.list_shared_names()) == ["app"]
    [said] = [found.what for found in examine(db, "") if "Several apps" in found.what]
    assert "named app" in said
