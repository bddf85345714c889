"""The demo's app with a fault: a CD is taken in a transaction of its own, and not in the transaction of the step.

If the worker is killed after that transaction, the step is done again, and the CD is taken twice.
"""

from __future__ import annotations

import time

import psycopg

from pgqueue.dev.demo import large_orders
from pgqueue.dev.demo.evening import TAKEN

PATH = "tests.apps.careless_shop:app"
app = large_orders.app

TAKE = """
INSERT INTO demo.reservations (order_id, cd)
VALUES (%(order)s, %(cd)s)
RETURNING (SELECT count(*) FROM demo.reservations WHERE order_id = %(order)s AND cd = %(cd)s)
"""


def take(_conn: psycopg.Connection, order_id: int, cd: int) -> None:
    with app.connection() as conn:
        row = conn.execute(TAKE, {"order": order_id, "cd": cd}).fetchone()
    # The worker is killed while it takes the CD that follows the first TAKEN ones.
    time.sleep(2 if row == (0,) and cd == TAKEN + 1 else large_orders.TAKES)


large_orders.take = take
