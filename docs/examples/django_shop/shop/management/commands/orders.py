"""``manage.py orders``: shows when a job exists: after a commit, a rollback and a savepoint, twice, in bulk, and from async code."""

import asyncio

from django.core.management.base import BaseCommand
from django.db import transaction

from shop.models import Order
from shop.tasks import charge, confirm, ship


class Refused(Exception):
    """The shop does not take this order."""


class Command(BaseCommand):
    help = "Takes some orders, and prints which jobs there are."

    def handle(self, **_):
        # Commit: the order and its job appear together.
        with transaction.atomic():
            Order.objects.create(number=1)
            first = confirm.enqueue(1)

        # Rollback: neither of them exists.
        try:
            with transaction.atomic():
                Order.objects.create(number=2)
                confirm.enqueue(2)
                raise Refused
        except Refused:
            pass

        # Savepoint: the inner block is rolled back, with its job. The outer block commits.
        with transaction.atomic():
            Order.objects.create(number=3)
            charge.enqueue(3)
            try:
                with transaction.atomic():
                    confirm.enqueue(3)
                    raise Refused
            except Refused:
                pass

        # Duplicate: the task is unique by number, so the second enqueue returns the first job.
        again = confirm.enqueue(1)

        # Bulk: a thousand jobs in a few round trips, in the transaction of their rows.
        with transaction.atomic():
            Order.objects.bulk_create(Order(number=number) for number in range(100, 1100))
            charge.enqueue_many([{"number": number} for number in range(100, 1100)])

        # Async: on the connection of Django's async ORM.
        handle = asyncio.run(self.ship_later(3))

        self.stdout.write(f"orders: {Order.objects.count()}")
        self.stdout.write(
            f"created: {first.created}, again: {again.created}, the same job: {first.id == again.id}"
        )
        self.stdout.write(f"async: {handle.created}")

    async def ship_later(self, number):
        return await ship.using(delay="1s").aenqueue(number)
