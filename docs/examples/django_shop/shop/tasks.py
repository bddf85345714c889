"""The tasks of the shop. A worker finds them, because this module is named ``tasks`` and its app is installed."""

from django.db import connection

from pgqueue import Job
from pgqueue.integrations.django import app
from shop.models import Mail, Order


@app.task(unique=["number"])
def confirm(number: int) -> None:
    """Writes a mail. It can run twice if a worker dies, so it looks for its mail first."""
    order = Order.objects.get(number=number)
    Mail.objects.get_or_create(order=order, subject=f"Your order {number}")


@app.task
def charge(job: Job, number: int) -> None:
    """Marks the order as paid, exactly once: the rows of the block and the completion of the job commit together."""
    with job.transaction(using=connection):
        Order.objects.filter(number=number, state="new").update(state="paid")


@app.task
async def ship(number: int) -> None:
    """Async handlers use Django's async ORM."""
    order = await Order.objects.aget(number=number)
    order.state = "shipped"
    await order.asave()
