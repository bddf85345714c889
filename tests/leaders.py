"""Plays turns of the leader's work for workflows."""

from __future__ import annotations

from pgqueue.database.link import Link
from pgqueue.maintenance.workflows import Finisher, Nodes
from tests.failing_rows import with_link


def lead(dsn: str, turns: int = 1) -> None:
    async def play(link: Link) -> None:
        finisher, nodes = Finisher(link), Nodes(link)
        for _ in range(turns):
            await finisher.once()
            await nodes.mend()

    with_link(dsn, play)
