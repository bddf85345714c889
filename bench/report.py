"""Measurements, the figures computed from them, and the targets of the figures. Every question uses these classes.

A question is a module of this package with ``run`` and these declarations, from which the tables, the README and the
list of targets are made::

    TITLE = "one worker process empties a queue"          # says in one line what is measured
    SHOWN = ["jobs_per_s", "server_us"]                   # columns of the table; the first column is the headline
    HEADLINES = ["jobs_per_s"]                            # values with a row in the README; default: the headline
    TARGETS = [Target("…", lambda results: results.median("drain", "jobs_per_s"), 40_000)]

The name of a value ends in its unit (``UNITS``). The unit decides whether more or less of the value is better. After the name of a
system, a variant can follow ("pgqueue x2"). A system is compared only with systems in the same variant.
"""

import asyncio
import json
import sys
import traceback
from collections.abc import Callable, Collection, Coroutine, Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import median, quantiles
from typing import IO, Any, Protocol, Self

from rich.console import Console
from rich.table import Table

OURS = "pgqueue"
UNITS = {
    "_per_s": "/s",
    "_ms": "ms",
    "_us": "µs",
    "_s": "s",
    "_mb": "MB",
    "_bytes": "B",
    "_growth": "",
    "_ratio": "",
    "_share": "%",
}
MORE_IS_BETTER = ("_per_s", "_share")


@dataclass(frozen=True)
class Measurement:
    question: str
    system: str
    round: int
    values: dict[str, float]


@dataclass
class Results:
    """All measurements of one or more runs, and the environment (machine, versions, settings) of each run."""

    measured: list[Measurement] = field(default_factory=list)
    environments: list[dict[str, Any]] = field(default_factory=list)

    @classmethod
    def read(cls, files: Iterable[Path]) -> Self:
        results = cls()
        for file in files:
            for line in map(json.loads, file.read_text().splitlines()):
                if "environment" in line:
                    results.environments.append(line["environment"])
                else:
                    results.measured.append(Measurement(**line))
        return results

    def systems(self, question: str) -> list[str]:
        """Returns the systems of a question, in the order in which they were first measured."""
        return list(dict.fromkeys(m.system for m in self.measured if m.question == question))

    def values(self, question: str, value: str, system: str = OURS) -> list[float]:
        """Returns the value in each round, or [] if it was not measured."""
        rows = (m.values for m in self.measured if (m.question, m.system) == (question, system))
        return [row[value] for row in rows if value in row]

    def median(self, question: str, value: str, system: str = OURS) -> float | None:
        values = self.values(question, value, system)
        return median(values) if values else None

    def ratio(
        self, question: str, value: str, system: str = OURS, *, to: Collection[str] = ()
    ) -> float | None:
        """Returns the median of ``system`` divided by the median of the best other system in the same variant.

        If ``to`` is given, only its systems count as other systems.
        """
        ours, best = self.median(question, value, system), self.best_peer(question, value, system, of=to)
        return ours / best[1] if ours is not None and best and best[1] else None

    def paired(
        self, question: str, value: str, system: str = OURS, *, to: Collection[str] = ()
    ) -> float | None:
        """Returns the median of the ratios in the single rounds: ``system`` divided by the best other system of the same round.

        A slow minute of the machine slows all systems of a round, so these ratios vary less than the figures.
        """
        rounds = dict.fromkeys(m.round for m in self.measured if m.question == question)
        ratios = (self.only(round_).ratio(question, value, system, to=to) for round_ in rounds)
        found = [ratio for ratio in ratios if ratio is not None]
        return median(found) if found else None

    def only(self, round_: int) -> "Results":
        return Results([m for m in self.measured if m.round == round_], self.environments)

    def to_own(self, question: str, value: str, system: str, other: str) -> float | None:
        """Returns the median of the variant ``system`` divided by the median of the variant ``other``."""
        one, two = self.median(question, value, system), self.median(question, value, other)
        return one / two if one is not None and two else None

    def peers(self, question: str, value: str, system: str = OURS) -> dict[str, float]:
        """Returns the medians of the other systems in the same variant as ``system``."""
        name, variant = split(system)
        others = [o for o in self.systems(question) if split(o)[1] == variant and split(o)[0] != name]
        medians = {split(other)[0]: self.median(question, value, other) for other in others}
        return {other: found for other, found in medians.items() if found is not None}

    def best_peer(
        self, question: str, value: str, system: str = OURS, *, of: Collection[str] = ()
    ) -> tuple[str, float] | None:
        found = [item for item in self.peers(question, value, system).items() if not of or item[0] in of]
        best = max if more_is_better(value) else min
        return best(found, key=lambda item: item[1]) if found else None


@dataclass(frozen=True)
class Target:
    """A bound for a figure. ``measured`` computes the figure from the results, and returns None if it was not measured."""

    text: str
    measured: Callable[[Results], float | None]
    bound: float
    at_least: bool = True

    def met(self, results: Results) -> bool | None:
        figure = self.measured(results)
        if figure is None:
            return None
        return figure >= self.bound if self.at_least else figure <= self.bound


class Question(Protocol):
    """A module that asks a question has these declarations. ``HEADLINES`` and ``TARGETS`` are optional."""

    TITLE: str
    SHOWN: list[str]
    HEADLINES: list[str]
    TARGETS: list[Target]

    def run(
        self, server: str, systems: list[str], report: "Report", rounds: int = ..., scale: float = ...
    ) -> None: ...


@dataclass
class Report:
    """Collects the measurements of a run. It writes each one as a line of JSON, and shows tables of their medians."""

    environment: dict[str, Any]
    lines: IO[str] | None = None
    results: Results = field(default_factory=Results)
    failed: list[str] = field(default_factory=list)
    console: Console = field(default_factory=lambda: Console(width=None if sys.stdout.isatty() else 160))

    def __post_init__(self) -> None:
        self.results.environments.append(self.environment)
        self._write({"environment": self.environment})
        for name, value in self.environment.items():
            self.console.print(f"[bold]{name}[/]: {value}", highlight=False, soft_wrap=True)

    def take(
        self,
        question: str,
        system: str,
        round_: int,
        measure: Callable[..., dict[str, float] | Coroutine[Any, Any, dict[str, float]]],
        *given: Any,
    ) -> None:
        """Calls ``measure`` and adds the values that it returns. If ``measure`` raises an exception, notes the failure and returns."""
        try:
            values = measure(*given)
            if isinstance(values, Coroutine):
                values = asyncio.run(values)
        except Exception:  # noqa: BLE001
            self.fail(f"{question}: {system}")
        else:
            if values:
                self.add(Measurement(question, system, round_, values))

    def fail(self, what: str) -> None:
        """Notes and prints the exception that is being handled."""
        self.failed.append(what)
        said = f"{what} failed\n{traceback.format_exc()}"
        self.console.print(said, markup=False, highlight=False, soft_wrap=True)

    def add(self, measurement: Measurement) -> None:
        self.results.measured.append(measurement)
        self._write(asdict(measurement))

    def table(
        self,
        question: str,
        title: str,
        shown: list[str],
        *,
        less_is_better: bool | None = None,
        paired: bool = False,
    ) -> None:
        """Shows the medians of the rounds. For the headline, also shows the range and the ratio to pgqueue in the same variant.

        A system without the headline is left out. With ``paired``, the ratio is the median of the ratios in the single rounds.
        """
        headline, results = shown[0], self.results
        less = not more_is_better(headline) if less_is_better is None else less_is_better
        direction = "less is better" if less else "more is better"
        table = Table(title=f"{question}: {title} ({direction})", title_justify="left")
        for name in ("system", *map(label, shown), "min to max", f"ratio to {OURS}"):
            table.add_column(name, justify="left" if name == "system" else "right", no_wrap=name == "system")
        for system in results.systems(question):
            if not results.values(question, headline, system):
                continue
            name, _ = split(system)
            of_rounds = results.paired if paired else results.ratio
            found = None if name == OURS else of_rounds(question, headline, system, to=[OURS])
            ratio = "" if found is None else f"{found:.2f}"
            cells = (number(results.median(question, value, system)) for value in shown)
            table.add_row(system, *cells, spread(results.values(question, headline, system)), ratio)
        self.console.print(table)

    def _write(self, line: dict[str, Any]) -> None:
        if self.lines:
            print(json.dumps(line), file=self.lines, flush=True)


def percentiles(seconds: list[float]) -> dict[str, float]:
    cuts = quantiles([1000 * s for s in seconds], n=100, method="inclusive")
    return {"p50_ms": cuts[49], "p95_ms": cuts[94], "p99_ms": cuts[98], "max_ms": 1000 * max(seconds)}


def split(system: str) -> tuple[str, str]:
    """Returns the name of the system and its variant."""
    name, _, variant = system.partition(" ")
    return name, variant


def joined(name: str, variant: str) -> str:
    return f"{name} {variant}".rstrip()


def more_is_better(value: str) -> bool:
    return value.endswith(MORE_IS_BETTER)


def label(value: str) -> str:
    """Returns the value's name for readers: "jobs/s" for ``jobs_per_s``, "claim p50, ms" for ``claim_p50_ms``."""
    for suffix, unit in UNITS.items():
        if value.endswith(suffix):
            words = value.removesuffix("" if unit in {"", "%"} else suffix).replace("_", " ")
            return f"{words}{unit}" if unit.startswith("/") else f"{words}, {unit}".rstrip(", ")
    return value.replace("_", " ")


def number(value: float | None) -> str:
    if value is None or value != value:  # noqa: PLR0124 - NaN
        return "-"
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"


def spread(values: list[float]) -> str:
    return f"{number(min(values))} to {number(max(values))}" if len(values) > 1 else ""
