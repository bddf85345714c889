"""The views of the shop, one sync and one async."""

from asgiref.sync import sync_to_async
from django.db import transaction
from django.http import JsonResponse

from shop.models import Order
from shop.tasks import charge, confirm, ship


@transaction.atomic
def buy(request, number):
    """The order and its two jobs commit together, or none of them does."""
    Order.objects.create(number=number)
    confirmed = confirm.enqueue(number)
    charge.enqueue(number)
    return JsonResponse({"order": number, "job": confirmed.id}, status=202)


async def send(request, number):
    """Django's transactions are sync. So an async view gives the whole block to a thread, or enqueues without a block."""

    def mark():
        with transaction.atomic():
            Order.objects.filter(number=number).update(state="packed")
            return ship.enqueue(number)

    handle = await sync_to_async(mark)()
    return JsonResponse({"order": number, "job": handle.id}, status=202)
