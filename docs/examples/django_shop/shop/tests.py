"""Tests of the shop. A test sees the jobs of its own transaction, and its rollback removes them."""

from django.db import transaction
from django.test import TestCase

from pgqueue.integrations.django.models import Job
from shop.models import Order


class Buying(TestCase):
    def test_an_order_and_its_jobs_are_stored_together(self):
        answer = self.client.get("/buy/7")
        self.assertEqual(answer.status_code, 202)
        tasks = Job.objects.order_by("id").values_list("task", flat=True)
        self.assertEqual(list(tasks), ["shop.tasks.confirm", "shop.tasks.charge"])

    def test_an_order_that_exists_stores_no_job(self):
        Order.objects.create(number=7)
        self.client.raise_request_exception = False
        with transaction.atomic():
            self.client.get("/buy/7")
        self.assertFalse(Job.objects.exists())

    async def test_an_async_view_stores_its_job_in_the_transaction_of_the_test(self):
        await Order.objects.acreate(number=8)
        answer = await self.async_client.get("/send/8")
        self.assertEqual(answer.status_code, 202)
        self.assertEqual(await Job.objects.acount(), 1)
