"""The connections of a worker. Each is opened when it is first used.

Only the leader uses ``leading``, ``upkeep``, ``measuring`` and ``schedules``. The link ``declarations`` is open only while declarations are stored.
"""

from __future__ import annotations

from pgqueue.database.link import Link
from pgqueue.database.outage import Outage
from pgqueue.database.run import CLAIMING, ORDINARY

SHORTEST, LONGEST = (
    5.0,
    60.0,
)  # the time limit of a statement is as long as a lease, but at least SHORTEST and at most LONGEST seconds
UPKEEP = 7200.0  # the time limit, in seconds, for the rebuild of an index


class Links:
    def __init__(self, dsn: str, outage: Outage, lease: float) -> None:
        limit = min(
            max(lease, SHORTEST), LONGEST
        )  # if the server does not answer, the worker waits no longer than this
        self.claim = Link(dsn, "pgqueue claim", outage, session=CLAIMING, limit=limit)
        self.settle = Link(dsn, "pgqueue settle", outage, limit=limit)
        self.steps = Link(dsn, "pgqueue steps", outage, limit=limit)
        self.listen = Link(dsn, "pgqueue listen", outage, limit=limit)
        self.own = (self.claim, self.settle, self.steps, self.listen)  # the links of the worker itself
        self.leading = Link(dsn, "pgqueue leader", outage, limit=limit)
        self.upkeep = Link(dsn, "pgqueue upkeep", outage, session=ORDINARY, limit=UPKEEP)
        self.measuring = Link(dsn, "pgqueue metrics", outage, session=ORDINARY, limit=LONGEST)
        self.schedules = Link(dsn, "pgqueue schedules", outage)
        self.declarations = Link(dsn, "pgqueue schedules", outage)

    async def close(self) -> None:
        """Closes the connections of the worker itself."""
        for link in self.own:
            await link.close()
