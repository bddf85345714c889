"""Measures the nodes of workflows, from the call that stores the workflows until their last nodes are finished."""

import asyncio

import psycopg

from bench import drain, peers, probe
from bench.cpu import Meter, backends
from bench.durable.systems import NodeSystem, Workflows
from bench.server import fresh_database, settle
from bench.worker import Worker

PATIENCE = 120.0
SHAPES = {"chains": Workflows(100, length=10), "fan": Workflows(1, width=1_000)}
FIRST = Workflows(1, length=2)


def scaled(workflows: Workflows, scale: float) -> Workflows:
    """Returns fewer chains, or narrower fans."""
    share = min(1.0, max(0.1, scale))
    if workflows.length:
        return workflows._replace(count=int(workflows.count * share))
    return workflows._replace(width=int(workflows.width * share))


def rate(server: str, system: NodeSystem, workflows: Workflows) -> dict[str, float]:
    """Returns how many nodes a second are stored and run by one worker process, which is idle before."""
    with fresh_database(server) as dsn:
        asyncio.run(system.setup(dsn))
        settle(dsn)
        with psycopg.connect(dsn, autocommit=True) as conn, system.workflow_counter(dsn) as finished:
            mine = backends(conn)
            with Worker(peers.load("pgqueue"), dsn, 1, system.node_command()) as worker:
                asyncio.run(
                    system.store_workflows(dsn, FIRST)
                )  # now the worker runs and has opened its connections
                drain.wait_until(finished, FIRST.count)
                meter, begin = Meter(conn, *worker.leaders(), ignored=mine), probe.now()
                asyncio.run(system.store_workflows(dsn, workflows))
                drain.wait_until(finished, FIRST.count + workflows.count, PATIENCE)
                seconds = probe.now() - begin
                return {"nodes_per_s": workflows.nodes / seconds, **meter.per_job(workflows.nodes)}
