"""Measurements: kept as JSON lines, shown as tables of medians with ratios, under what they were measured on."""

import json
import os
import platform
import sys
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from statistics import median, quantiles
from typing import IO, Any

from rich.console import Console
from rich.table import Table

from bench import peers

OURS = "pgqueue"


@dataclass(frozen=True)
class Measurement:
    question: str
    system: str
    round: int
    values: dict[str, float]


@dataclass
class Report:
    environment: dict[str, Any]
    lines: IO[str] | None = None
    measured: list[Measurement] = field(default_factory=list)
    console: Console = field(default_factory=lambda: Console(width=None if sys.stdout.isatty() else 120))

    def __post_init__(self) -> None:
        self._write({"environment": self.environment})
        for name, value in self.environment.items():
            self.console.print(f"[bold]{name}[/]: {value}", highlight=False, soft_wrap=True)

    def add(self, measurement: Measurement) -> None:
        self.measured.append(measurement)
        self._write(asdict(measurement))

    def table(self, question: str, title: str, shown: list[str], *, less_is_better: bool = False) -> None:
        """Show the medians over rounds; the ratio compares the first shown value with pgqueue's."""
        medians = self._medians(question, shown)
        reference = medians[OURS][0] if OURS in medians else max(row[0] for row in medians.values())
        against = OURS if OURS in medians else "the highest"
        arrow = "less is better" if less_is_better else "more is better"
        table = Table(title=f"{question}: {title} ({arrow})", title_justify="left")
        table.add_column("system")
        for name in shown:
            table.add_column(name, justify="right")
        if len(medians) > 1:
            table.add_column(f"ratio to {against}", justify="right")
        for system, row in medians.items():
            ratio = [f"{row[0] / reference:.2f}"] if len(medians) > 1 else []
            table.add_row(system, *(_number(value) for value in row), *ratio)
        self.console.print(table)

    def _medians(self, question: str, shown: list[str]) -> dict[str, list[float]]:
        rows: dict[str, list[Measurement]] = {}
        for measurement in self.measured:
            if measurement.question == question:
                rows.setdefault(measurement.system, []).append(measurement)
        return {
            system: [median(m.values[name] for m in row) for name in shown] for system, row in rows.items()
        }

    def _write(self, line: dict[str, Any]) -> None:
        if self.lines:
            print(json.dumps(line), file=self.lines, flush=True)


def percentiles(seconds: list[float]) -> dict[str, float]:
    cuts = quantiles([1000 * s for s in seconds], n=100, method="inclusive")
    return {"p50_ms": cuts[49], "p95_ms": cuts[94], "p99_ms": cuts[98], "max_ms": 1000 * max(seconds)}


def environment(systems: list[str], server_settings: dict[str, str]) -> dict[str, Any]:
    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": f"{_processor()}, {os.cpu_count()} CPUs, {platform.system()} {platform.release()}",
        "load": os.getloadavg()[0],
        "python": platform.python_version(),
        "postgres": ", ".join(f"{name}={value}" for name, value in server_settings.items()),
        "job": f"async no-op, {len(json.dumps(peers.job(1)))} bytes of JSON arguments",
        **{name: peers.describe(name) for name in systems},
    }


def _processor() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.machine()


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.2f}"
