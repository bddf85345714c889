"""Handlers in a real worker: the Tasks framework, completions by Django's transaction, and broken connections."""

from __future__ import annotations

from datetime import timedelta

from django_tasks import default_task_backend
from django_tasks.base import TaskResultStatus
from django_tasks.exceptions import InvalidTaskError, TaskResultDoesNotExist
from django_tasks.signals import task_enqueued, task_finished, task_started
from shop.models import Order

from django.test import TransactionTestCase
from django.utils import timezone
from tests.django.project import jobs
from tests.django.project.queue import Emptied
from tests.django_suites.draining import drain

READY, FAILED, SUCCESSFUL = TaskResultStatus.READY, TaskResultStatus.FAILED, TaskResultStatus.SUCCESSFUL


class TheTasksFramework(Emptied, TransactionTestCase):
    def test_a_task_runs_and_its_result_can_be_read(self) -> None:
        told: list[tuple[str, str]] = []
        for name, signal in {
            "enqueued": task_enqueued,
            "started": task_started,
            "finished": task_finished,
        }.items():
            receiver = lambda task_result, name=name, **_: told.append((name, task_result.status))  # noqa: E731
            signal.connect(receiver, weak=False)
            self.addCleanup(signal.disconnect, receiver)
        result = jobs.double.enqueue(21)
        later = jobs.double.using(run_after=timezone.now() + timedelta(hours=1)).enqueue(1)
        self.assertEqual(result, jobs.double.get_result(result.id))
        drain()
        result.refresh()
        self.assertEqual((result.status, result.return_value, result.attempts), (SUCCESSFUL, 42, 1))
        self.assertLessEqual(result.enqueued_at, result.started_at)
        self.assertLessEqual(result.started_at, result.finished_at)
        later.refresh()
        self.assertEqual(later.status, READY)
        self.assertEqual(told[2:], [("started", "RUNNING"), ("finished", "SUCCESSFUL")])

    def test_async_tasks_queues_and_priorities(self) -> None:
        result = jobs.adouble.enqueue(4)
        self.assertEqual(self.sql("select queue, priority from pgqueue.jobs"), [("mail", -10)])
        for number, priority in ((1, -5), (2, 100), (3, 0)):
            jobs.double.using(priority=priority).enqueue(number)
        drain(1)
        result.refresh()
        self.assertEqual(result.return_value, 8)
        self.assertEqual(jobs.ran, [2, 3, 1])

    def test_a_failed_task_tells_its_error(self) -> None:
        result = jobs.fail.enqueue()
        with self.assertLogs("django_tasks", "ERROR"):
            drain()
        result.refresh()
        [error] = result.errors
        self.assertEqual((result.status, result.attempts), (FAILED, 1))
        self.assertIs(error.exception_class, jobs.OddError)
        self.assertIn("odd: very odd", error.traceback)

    def test_a_task_that_fails_once_runs_again(self) -> None:
        result = jobs.second_time.enqueue()
        for _ in range(3):
            drain()
        result.refresh()
        self.assertEqual(jobs.ran, [1, 2])
        self.assertEqual(
            (result.status, result.return_value, result.attempts), (SUCCESSFUL, [result.id, 2], 2)
        )
        self.assertEqual([one.exception_class for one in result.errors], [ValueError])

    def test_what_is_no_task_has_no_result_and_is_not_run(self) -> None:
        self.sql("insert into pgqueue.jobs (task, args) values ('os.getcwd', '{}')")
        drain()
        [(number, state)] = self.sql("select id, state from pgqueue.jobs")
        self.assertEqual(state, "pending")
        for wrong in (str(number), "9" * 30, "x", ""):
            with self.assertRaises(TaskResultDoesNotExist):
                default_task_backend.get_result(wrong)
        with self.assertRaises(InvalidTaskError):
            jobs.second_time.using(queue_name="no queue")


class Handlers(Emptied, TransactionTestCase):
    def test_a_handler_gets_a_new_connection_after_it_has_lost_one(self) -> None:
        jobs.lose_connection.enqueue()
        for number in range(3):
            jobs.create.enqueue(number)
        drain(1)
        self.assertEqual(self.states(), ["dead", "completed", "completed", "completed"])
        self.assertEqual(Order.objects.count(), 3)

    def test_rows_and_the_completion_commit_together(self) -> None:
        for number, how in enumerate(["", "fail", "caught", "lost", "inside"]):
            jobs.create.enqueue(number, how)
        drain(1)
        self.assertEqual(self.states(), ["completed", "dead", "dead", "running", "dead"])
        self.assertEqual(list(Order.objects.values_list("number", flat=True)), [0])
        said = [
            error for (error,) in self.sql("select coalesce(last_error, '') from pgqueue.jobs order by id")
        ]
        self.assertIn("OddError: no", said[1])
        self.assertIn("TransactionManagementError", said[2])
        self.assertIn("was called in a block of atomic()", said[4])
        self.assertEqual(jobs.ran, [])

    def states(self) -> list[str]:
        return [state for (state,) in self.sql("select state from pgqueue.jobs order by id")]
