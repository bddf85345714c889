"""The admin, the models, the checks and the migrations."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from django.apps import apps
from django.contrib.auth.models import Permission, User
from django.core import checks
from django.core.management import call_command
from django.db import connection
from django.db.migrations.loader import MigrationLoader
from django.test import TestCase, override_settings
from pgqueue.database.migrate import HEAD
from pgqueue.errors import InvalidOptionError
from pgqueue.integrations.django.models import Action, Job, Queue
from tests.django.project.jobs import note

PAGE = "/admin/pgqueue/job/"


class TheAdmin(TestCase):
    def log_in(self, *permissions: str) -> None:
        user = User.objects.create_user("ann", password="x", is_staff=True)
        user.user_permissions.set(
            Permission.objects.filter(codename__in=permissions, content_type__app_label="pgqueue")
        )
        self.client.force_login(user)

    def act(self, name: str, *jobs: int) -> Any:
        return self.client.post(PAGE, {"action": name, "_selected_action": jobs}, follow=True)

    def test_who_may_view_reads_masked_values_and_changes_nothing(self) -> None:
        self.log_in("view_job")
        job = note.enqueue(1, password="hunter22")
        for address in (
            PAGE,
            f"{PAGE}?q=note",
            f"{PAGE}?q={job.id}",
            f"{PAGE}?state=pending",
            f"{PAGE}{job.id}/change/",
        ):
            answer = self.client.get(address)
            self.assertContains(answer, str(job.id))
            self.assertNotContains(answer, "hunter22")
        self.act("cancel", job.id)
        self.assertEqual(job.job().state, "pending")
        self.assertEqual(self.client.get("/admin/pgqueue/queue/").status_code, 403)
        self.assertEqual(self.client.get(f"{PAGE}add/").status_code, 403)

    def test_who_may_change_acts_and_the_audit_has_the_name(self) -> None:
        self.log_in("view_job", "change_job")
        job, other = note.enqueue(1), note.enqueue(2)
        self.assertContains(self.act("cancel", job.id), "1 job changed.")
        self.assertContains(self.act("cancel", job.id), "Not changed: 1")
        self.assertEqual((job.job().state, other.job().state), ("cancelled", "pending"))
        self.assertContains(self.act("retry", job.id, other.id), "1 job changed.")
        self.act("delete_jobs", job.id)
        self.assertTrue(Job.objects.filter(id=job.id).exists())
        self.assertEqual({one.actor for one in Action.objects.all()}, {"ann"})
        self.assertEqual(Action.objects.filter(action="cancel").count(), 1)
        saved = self.client.post(f"{PAGE}{job.id}/change/", {"queue": "x"})
        self.assertIn(saved.status_code, (200, 302, 403))
        self.assertEqual(job.job().queue, "default")

    def test_who_may_delete_deletes(self) -> None:
        self.log_in("view_job", "delete_job")
        job = note.enqueue(1)
        self.assertContains(self.act("delete_jobs", job.id), "1 job changed.")
        self.assertFalse(Job.objects.exists())

    def test_queues_are_paused(self) -> None:
        self.client.force_login(User.objects.create_superuser("root"))
        note.enqueue(1)
        queue = Queue.objects.get(name="default")
        self.client.post("/admin/pgqueue/queue/", {"action": "pause", "_selected_action": [queue.pk]})
        self.assertTrue(Queue.objects.get(name="default").paused)
        for model in apps.get_app_config("pgqueue").get_models():
            answer = self.client.get(f"/admin/pgqueue/{model._meta.model_name}/")
            self.assertEqual(answer.status_code, 200, model)


class Models(TestCase):
    def test_every_model_reads_its_table_and_writes_nothing(self) -> None:
        note.enqueue(1)
        for model in apps.get_app_config("pgqueue").get_models():
            for row in model.objects.all():
                str(row)
        with self.assertRaises(InvalidOptionError):
            Job.objects.all().delete()
        with self.assertRaises(InvalidOptionError):
            Job.objects.get().save()
        with self.assertRaises(InvalidOptionError):
            Job.objects.update(priority=1)

    def test_the_last_migration_is_for_the_newest_schema(self) -> None:
        """If this fails, the schema has a new revision: add a migration for it to pgqueue/integrations/django/migrations."""
        [(_, name)] = MigrationLoader(connection).graph.leaf_nodes("pgqueue")
        last = import_module(f"pgqueue.integrations.django.migrations.{name}").Migration
        self.assertEqual(last.operations[0].revision, HEAD)

    def test_makemigrations_finds_no_change(self) -> None:
        call_command("makemigrations", "pgqueue", check=True, dry_run=True, verbosity=0)


class Elsewhere:
    """Sends every model to another database."""

    def db_for_write(self, model: Any, **_: object) -> str:
        return "other"


class OnlyUsers(Elsewhere):
    def db_for_write(self, model: Any, **_: object) -> str | None:  # type: ignore[override]
        return "other" if model._meta.app_label == "shop" and model.__name__ == "Mail" else None


class OnlyTheirs(Elsewhere):
    def db_for_write(self, model: Any, **_: object) -> str:
        return "default" if model._meta.app_label == "pgqueue" else "other"


HERE = "tests.django.project.admin_tests"


class Checks(TestCase):
    def said(self, **settings: object) -> set[str]:
        with override_settings(**settings):
            return {one.id for one in checks.run_checks(tags=["pgqueue"])}

    def test_the_checks_find_wrong_settings(self) -> None:
        self.assertEqual(self.said(), set())
        for setting in ({"DATABSE": "default"}, {"DATABASE": 7}, {"IMPORTS": "shop"}, ["x"]):
            self.assertEqual(self.said(PGQUEUE=setting), {"pgqueue.E001"}, setting)
        self.assertEqual(self.said(PGQUEUE={"DATABASE": "nowhere"}), {"pgqueue.E002"})
        self.assertIn("pgqueue.E003", self.said(PGQUEUE={"DATABASE": "other"}))
        for path in ("shop.nothing:app", "shop.models:Order", "shop"):
            self.assertEqual(self.said(PGQUEUE={"APP": path}), {"pgqueue.E006"}, path)

    def test_the_checks_find_routers_that_separate_jobs_from_rows(self) -> None:
        default = {"DATABASE": "default"}
        self.assertLessEqual(
            {"pgqueue.E004"}, self.said(PGQUEUE=default, DATABASE_ROUTERS=[f"{HERE}.Elsewhere"])
        )
        self.assertEqual(
            self.said(PGQUEUE=default, DATABASE_ROUTERS=[f"{HERE}.OnlyTheirs"]), {"pgqueue.E005"}
        )
        self.assertEqual(self.said(DATABASE_ROUTERS=[f"{HERE}.OnlyUsers"]), {"pgqueue.W001"})
        ours = ["pgqueue.integrations.django.Router", f"{HERE}.OnlyUsers"]
        self.assertEqual(self.said(PGQUEUE=default, DATABASE_ROUTERS=ours), {"pgqueue.W001"})

    def test_the_backend_checks_its_options(self) -> None:
        from django_tasks import task_backends

        backend = task_backends["default"]
        self.assertEqual(list(backend.check()), [])
        backend.options = {"RETRYS": 3, "RETRY": object()}
        try:
            self.assertEqual([one.id for one in backend.check()], ["pgqueue.E008"] * 2)
        finally:
            backend.options = {}
