"""The figures of a benchmark, and what they mean in words. Pure, without I/O."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

DAY = 86_400
BUSY = 0.6  # a process that uses this share of a CPU has little left
HALF = (
    0.5  # the share of the measured rate that a queue can carry in the long run, because work comes in bursts
)

Limit = Literal["round trip", "fsync", "CPU of this machine", "server"]
MEANS: dict[Limit, str] = {
    "round trip": "the way to the server: run the workers nearer to it, and enqueue many jobs in one call",
    "fsync": "the disk of the server, for which each commit waits: enqueue many jobs in one call or one transaction",
    "CPU of this machine": "the CPU of this process: further processes carry more, as long as the machine has CPUs for them",
    "server": "the CPU and the disk of the server: further worker processes carry little more",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """Times are in milliseconds. ``cpu_share``: which share of one CPU the worker's process has used while it worked."""

    round_trip_ms: float
    commit_ms: float
    enqueue_per_second: float
    enqueue_many_per_second: float
    worker_per_second: float
    cpu_share: float
    pickup_p50_ms: float
    pickup_p99_ms: float
    jobs: int
    seconds: float

    @property
    def fsync_ms(self) -> float:
        """Returns how much longer a commit takes than a round trip: the time of the disk."""
        return max(self.commit_ms - self.round_trip_ms, 0.0)

    @property
    def jobs_a_day(self) -> int:
        """Returns how many jobs that do nothing one worker process runs in a day at half of its rate."""
        return int(self.worker_per_second * HALF * DAY)

    @property
    def enqueue_limit(self) -> Limit:
        took = 1000 / self.enqueue_per_second if self.enqueue_per_second else float("inf")
        if self.round_trip_ms + self.fsync_ms < took / 3:
            return "CPU of this machine" if self.round_trip_ms < 1 else "server"
        return "fsync" if self.fsync_ms > self.round_trip_ms else "round trip"

    @property
    def worker_limit(self) -> Limit:
        if self.cpu_share >= BUSY:
            return "CPU of this machine"
        return "round trip" if self.round_trip_ms > 5 else "fsync" if self.fsync_ms > 5 else "server"

    def as_dict(self) -> dict[str, object]:
        return {
            "round_trip_ms": round(self.round_trip_ms, 3), "commit_ms": round(self.commit_ms, 3), "fsync_ms": round(self.fsync_ms, 3),
            "enqueue_per_second": round(self.enqueue_per_second, 1), "enqueue_many_per_second": round(self.enqueue_many_per_second, 1),
            "worker_per_second": round(self.worker_per_second, 1), "cpu_share": round(self.cpu_share, 3),
            "pickup_p50_ms": round(self.pickup_p50_ms, 2), "pickup_p99_ms": round(self.pickup_p99_ms, 2),
            "jobs_a_day": self.jobs_a_day, "enqueue_limit": self.enqueue_limit, "worker_limit": self.worker_limit,
            "jobs": self.jobs, "seconds": round(self.seconds, 1),
        }  # fmt: skip

    def rows(self) -> list[tuple[str, str]]:
        """Returns what was measured, each with its value, for people."""
        return [
            ("round trip", f"{self.round_trip_ms:.2f} ms"),
            ("fsync", f"{self.fsync_ms:.2f} ms (a commit takes {self.commit_ms:.2f} ms)"),
            ("enqueue, one a call", f"{self.enqueue_per_second:,.0f} jobs/s"),
            ("enqueue, many a call", f"{self.enqueue_many_per_second:,.0f} jobs/s"),
            ("one worker process", f"{self.worker_per_second:,.0f} jobs/s"),
            ("enqueue to start", f"{self.pickup_p50_ms:.1f} ms (p50), {self.pickup_p99_ms:.1f} ms (p99)"),
        ]

    def sentences(self) -> list[str]:
        return [
            f"At half of its rate, one worker process carries {_round(self.jobs_a_day)} jobs a day that do nothing.",
            "The time that your handlers take comes on top.",
            f"What limits a worker is {MEANS[self.worker_limit]}.",
            f"What limits the enqueuing of single jobs is {MEANS[self.enqueue_limit]}.",
        ]


def _round(number: int) -> str:
    """Returns a number with two digits that count: 1,234,567 is ``1,200,000``."""
    digits = len(str(number)) - 2
    return f"{number // 10**digits * 10**digits:,}" if digits > 0 else str(number)


def quantile(values: Sequence[float], share: float) -> float:
    """Returns the smallest value that is not smaller than this share of the values; 0 if there is none."""
    ordered = sorted(values)
    return ordered[min(int(share * len(ordered)), len(ordered) - 1)] if ordered else 0.0
