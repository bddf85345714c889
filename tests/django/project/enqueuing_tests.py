"""Enqueuing on Django's connection."""

from __future__ import annotations

import psycopg
from shop.models import Order

from django.db import connection, transaction
from django.db.transaction import TransactionManagementError
from django.test import TestCase, TransactionTestCase
from pgqueue.integrations.django import application, conf
from pgqueue.integrations.django.models import Job
from tests.django.project.jobs import note
from tests.django.project.queue import Emptied


class Enqueuing(Emptied, TransactionTestCase):
    def test_jobs_commit_and_roll_back_with_the_rows(self) -> None:
        with transaction.atomic(durable=True):
            Order.objects.create(number=1)
            note.enqueue(1)
            try:
                with transaction.atomic():
                    note.enqueue(2)
                    raise ZeroDivisionError
            except ZeroDivisionError:
                pass
            note.enqueue_many([{"number": n} for n in range(100, 160)])
            self.assertEqual(self.seen(), [])
            self.assertEqual(Job.objects.count(), 61)
        self.assertEqual(self.seen(), [1, *range(100, 160)])
        try:
            with transaction.atomic():
                note.enqueue(3)
                raise ZeroDivisionError
        except ZeroDivisionError:
            pass
        self.assertEqual(len(self.seen()), 61)

    def test_outside_of_atomic_each_call_commits_by_itself(self) -> None:
        handle = note.enqueue(1)
        note.enqueue_many([{"number": n} for n in range(2, 60)])
        self.assertEqual(self.seen(), [*range(1, 60)])
        self.assertEqual(handle.job().args["number"], 1)
        with transaction.atomic():
            self.assertTrue(handle.cancel())
            transaction.set_rollback(True)
        self.assertEqual(handle.job().state, "pending")

    def test_without_autocommit_the_caller_commits(self) -> None:
        transaction.set_autocommit(False)
        try:
            note.enqueue(1)
            transaction.rollback()
            note.enqueue(2)
            transaction.commit()
        finally:
            transaction.set_autocommit(True)
        self.assertEqual(self.seen(), [2])

    def test_a_block_that_will_be_rolled_back_takes_no_job(self) -> None:
        with transaction.atomic():
            transaction.set_rollback(True)
            with self.assertRaises(TransactionManagementError):
                note.enqueue(1)

    def test_a_caught_error_of_the_server_is_told_to_django(self) -> None:
        """Without that, the COMMIT of the block would be a rollback, and nobody would learn it."""
        with transaction.atomic():
            Order.objects.create(number=1)
            try:
                with application.own() as inner:
                    inner.execute("select 1/0")
            except psycopg.errors.DivisionByZero:
                pass
            with self.assertRaises(TransactionManagementError):
                Order.objects.count()

    def test_a_batch_and_a_workflow_are_stored_with_the_rows(self) -> None:
        from pgqueue.integrations.django import app

        with transaction.atomic():
            with app.batch("all") as batch:
                batch.add(note.job(n) for n in range(30))
            transaction.set_rollback(True)
        self.assertEqual(self.seen(), [])

    def seen(self) -> list[int]:
        """What another connection sees."""
        with psycopg.connect(conf.dsn()) as other:
            rows = other.execute("select (args->>'number')::int from pgqueue.jobs order by id").fetchall()
        return [number for (number,) in rows]


class InATest(TestCase):
    def test_a_test_sees_its_jobs(self) -> None:
        note.enqueue(1)
        self.assertEqual(Job.objects.get().args, {"number": 1})
        self.assertTrue(connection.in_atomic_block)

    async def test_an_async_test_sees_its_jobs(self) -> None:
        handle = await note.aenqueue(1)
        self.assertEqual(await Job.objects.acount(), 1)
        self.assertEqual((await handle.ajob()).state, "pending")
        await note.aenqueue_many([{"number": n} for n in range(40)])
        self.assertEqual(await Job.objects.acount(), 41)
