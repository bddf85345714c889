"""chancy: workflows by its plugin, which is enabled by default. The executor is that of the other questions.

Only a leader carries workflows on. The worker asks each second whether it leads, because at first it asks only after this interval.
"""

import asyncio
import os
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager

from chancy import Chancy, Queue, Worker, job
from chancy.plugins.leadership import Leadership
from chancy.plugins.workflow import Workflow, WorkflowPlugin

from bench.durable.systems import AT_ONCE, Workflows, double
from bench.peers import QUEUE, count_by_sql
from bench.peers import chancy as peer

VERSION = peer.VERSION
SETTINGS = (
    f"AsyncExecutor, concurrency={AT_ONCE}, eager_polling, notifications, WorkflowPlugin with its defaults"
)
ENDED = "SELECT count(*) FROM chancy_workflows WHERE state = 'completed'"


@job(queue=QUEUE)
async def node(*, n: int) -> None:
    double(n)


def connect(dsn: str) -> Chancy:
    return Chancy(dsn, log=peer.QUIET, plugins=[Leadership(poll_interval=1)])


async def setup(dsn: str) -> None:
    async with connect(dsn) as app:
        await app.migrate()
        await app.declare(
            Queue(
                QUEUE,
                concurrency=AT_ONCE,
                executor=Chancy.Executor.Async,
                polling_interval=1,
                eager_polling=True,
            )
        )


def node_command() -> list[str]:
    return [sys.executable, "-m", "bench.durable.chancy"]


def workflow_counter(dsn: str) -> AbstractContextManager[Callable[[], int]]:
    return count_by_sql(dsn, ENDED)


async def store_workflows(dsn: str, workflows: Workflows) -> None:
    async with connect(dsn) as app:
        for number in range(workflows.count):
            await WorkflowPlugin.push(app, made(f"bench {number}", workflows))


def made(name: str, workflows: Workflows) -> Workflow:
    workflow = Workflow(name)
    if workflows.length:
        for n in range(workflows.length):
            workflow.add(str(n), node.job.with_kwargs(n=n), [str(n - 1)] if n else [])
        return workflow
    middle = [str(n) for n in range(1, workflows.width + 1)]
    workflow.add("first", node.job.with_kwargs(n=0))
    workflow.add_group([(one, node.job.with_kwargs(n=int(one))) for one in middle], ["first"])
    return workflow.add("last", node.job.with_kwargs(n=0), middle)


async def work() -> None:
    async with connect(os.environ["BENCH_DSN"]) as app, Worker(app) as worker:
        await worker.wait_for_shutdown()


if __name__ == "__main__":
    asyncio.run(work())
