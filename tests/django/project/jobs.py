"""Tasks for the tests."""

from __future__ import annotations

import psycopg
from django_tasks import TaskContext, task
from shop.models import Order

from django.db import connection, transaction
from pgqueue import Job
from pgqueue.integrations.django import app, conf

ran: list[object] = []


class OddError(Exception):
    """An error that is not one of Python's."""


@task()
def double(number: int) -> int:
    ran.append(number)
    return 2 * number


@task(queue_name="mail", priority=10)
async def adouble(number: int) -> int:
    return 2 * number


@task()
def fail() -> None:
    raise OddError("odd: very odd")


@task(backend="again", takes_context=True)
def second_time(context: TaskContext) -> list[object]:
    ran.append(context.attempt)
    if context.attempt == 1:
        raise ValueError("first")
    return [context.task_result.id, context.attempt]


@app.task(retry=1)
def note(number: int, password: str = "") -> None:
    ran.append(number)


@app.task(retry=1)
def lose_connection() -> None:
    with connection.cursor() as cursor:
        cursor.execute("select pg_terminate_backend(pg_backend_pid())")


@app.task(retry=1)
def create(job: Job, number: int, how: str = "") -> None:
    """Creates an order in the transaction that completes the job."""
    if how == "inside":
        with transaction.atomic(), job.transaction(using=connection):
            pass
    with job.transaction(using=connection):
        Order.objects.create(number=number)
        if how == "fail":
            raise OddError("no")
        if how == "caught":
            with transaction.atomic():
                note.enqueue(number)
            transaction.set_rollback(True)
        if how == "lost":
            with psycopg.connect(conf.dsn(), autocommit=True) as other:
                other.execute("update pgqueue.jobs_live set lease_id = lease_id + 1 where id = %s", [job.id])
