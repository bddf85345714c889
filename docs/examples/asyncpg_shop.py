"""A shop on asyncpg alone: orders and their jobs are one transaction. Run it with ``PGQUEUE_DSN`` set, after ``pgq migrate``."""

from __future__ import annotations

import asyncio
import os

import asyncpg

from pgqueue import App, Job

DSN = os.environ["PGQUEUE_DSN"]
app = App(DSN)


opening = asyncio.Lock()
pools: list[asyncpg.Pool] = []


async def pool() -> asyncpg.Pool:
    """Returns the pool of this process, which is opened at its first use."""
    async with opening:
        if not pools:
            pools.append(await asyncpg.create_pool(DSN))
    return pools[0]


@app.task(name="send_receipt", queue="mail")
async def send_receipt(job: Job, order_id: int) -> None:
    """Marks the receipt as sent. The mark and the completion of the job are one commit."""
    async with job.atransaction(using=await pool()) as connection:
        await connection.execute("update orders set receipt_sent = true where id = $1", order_id)


async def place_order(connection: asyncpg.Connection, order_id: int) -> int:
    """Stores an order and its job in the transaction of ``connection``. Returns the id of the job."""
    await connection.execute("insert into orders (id) values ($1)", order_id)
    handle = await send_receipt.using(connection, unique_key=f"receipt:{order_id}").aenqueue(
        order_id=order_id
    )
    return handle.id


async def main() -> None:
    connection = await asyncpg.connect(DSN)
    await connection.execute(
        "create table if not exists orders (id int primary key, receipt_sent bool default false)"
    )

    async with connection.transaction():
        await place_order(connection, 1)
    print("order 1: committed with its job")

    try:
        async with connection.transaction():
            await place_order(connection, 2)
            raise RuntimeError("the card is declined")
    except RuntimeError:
        print("order 2: rolled back with its job")

    async with connection.transaction():
        await place_order(connection, 3)
        try:
            async with connection.transaction():  # a savepoint
                await place_order(connection, 4)
                raise RuntimeError("order 4 is a mistake")
        except RuntimeError:
            print("order 4: rolled back to the savepoint, order 3 stays")

    async with connection.transaction():
        handle = await send_receipt.using(connection, unique_key="receipt:3").aenqueue(order_id=3)
    print(
        "a second receipt for order 3:", "created" if handle.created else f"job {handle.id} is there already"
    )

    async with connection.transaction():
        await connection.execute("insert into orders (id) select generate_series(100, 299)")
        handles = await send_receipt.using(connection).aenqueue_many(
            [{"order_id": n} for n in range(100, 300)]
        )
    print(len(handles), "jobs in a few round trips")
    await connection.close()
    await app.aclose()


if __name__ == "__main__":
    asyncio.run(main())
