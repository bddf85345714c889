"""Keeps the values of metrics in memory, as numbers of series. Does no I/O, and knows no exporter.

A store is not safe for use by several threads at the same time: its owner (metrics.py) holds a lock.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Any

from pgqueue.runtime.clock import monotonic
from pgqueue.telemetry.instruments import INSTRUMENTS, Instrument
from pgqueue.text.shown import visible

Labels = tuple[str, ...]

MOST = 200  # a label has at most this many values; every further value counts as OTHER
OTHER = "other"
MANY = 50  # values
LONGEST = 128  # characters of a label's value
# Labels whose values come from the database or from exceptions, so that there can be any number of them. Labels of one kind share a limit.
OPEN = {
    "queue": "queue", "messaging.destination.name": "queue", "task": "task", "pgqueue.task.name": "task",
    "error.type": "error", "table": "table",
}  # fmt: skip


class Values:
    """Limits the number of values that each label can have, and cleans the values."""

    def __init__(self) -> None:
        self._known: dict[str, dict[str, str]] = {}

    def bounded(self, instrument: Instrument, labels: Labels) -> Labels:
        return tuple(map(self._one, instrument.labels, labels))

    def _one(self, name: str, value: str) -> str:
        kind = OPEN.get(name)
        if kind is None or not value:
            return value
        known = self._known.setdefault(kind, {})
        if value not in known:
            if len(known) >= MOST:
                return OTHER
            known[value] = visible(value[:LONGEST])
        return known[value]


class Histogram:
    """``counts``: how many values each bucket has; the last bucket has no upper limit."""

    __slots__ = ("counts", "total")

    def __init__(self, counts: list[int], total: float = 0.0) -> None:
        self.counts, self.total = counts, total

    def observe(self, limits: tuple[float, ...], values: Collection[float]) -> None:
        counts = self.counts
        self.total += sum(values)
        if len(values) < MANY:
            for value in values:
                counts[bisect_left(limits, value)] += 1
            return
        ordered, before = sorted(values), 0  # to find the limits among many values is faster than the reverse
        for at, limit in enumerate(limits):
            until = bisect_right(ordered, limit, before)
            counts[at] += until - before
            before = until
        counts[-1] += len(ordered) - before


class Store:
    """The series of all metrics of a process, or of several processes if their values are merged into it."""

    def __init__(self) -> None:
        self._values = Values()
        self._counters: dict[str, dict[Labels, float]] = {}
        self._histograms: dict[str, dict[Labels, Histogram]] = {}
        self._gauges: dict[str, dict[Labels, float]] = {}
        self._valid_until: float | None = None  # of the gauges, on the clock ``monotonic``
        self._has_new_gauges = False  # since the last ``take``

    def add(self, instrument: Instrument, labels: Labels, count: float) -> Labels:
        """Adds to a counter. Returns the labels under which it counted."""
        labels = self._values.bounded(instrument, labels)
        series = self._counters.setdefault(instrument.name, {})
        series[labels] = series.get(labels, 0) + count
        return labels

    def observe(self, instrument: Instrument, labels: Labels, values: Collection[float]) -> Labels:
        """Adds values to a histogram. Returns the labels under which it counted."""
        labels = self._values.bounded(instrument, labels)
        self._histogram(instrument, labels).observe(instrument.buckets, values)
        return labels

    def set_gauges(
        self, measured: Mapping[Instrument, Mapping[Labels, float]], until: float | None = None
    ) -> None:
        """Replaces all gauges. ``until``: when they disappear, on the clock ``monotonic``, unless others replace them; None: they stay.

        Counts of series that share the label ``other`` are added together. Of times, the longest is kept.
        """
        self._gauges = {}
        for instrument, series in measured.items():
            kept = self._gauges[instrument.name] = {}
            for labels, value in series.items():
                bounded = self._values.bounded(instrument, labels)
                before = kept.get(bounded, 0)
                kept[bounded] = max(value, before) if instrument.unit == "s" else value + before
        self._valid_until, self._has_new_gauges = until, True

    def _histogram(self, instrument: Instrument, labels: Labels) -> Histogram:
        series = self._histograms.setdefault(instrument.name, {})
        if labels not in series:
            series[labels] = Histogram([0] * (len(instrument.buckets) + 1))
        return series[labels]

    # ------------------------------------------------------------------ reading

    def counters(self, instrument: Instrument) -> dict[Labels, float]:
        return self._counters.get(instrument.name, {})

    def histograms(self, instrument: Instrument) -> dict[Labels, Histogram]:
        return self._histograms.get(instrument.name, {})

    def gauges(self, instrument: Instrument) -> dict[Labels, float]:
        if self._valid_until is not None and monotonic() > self._valid_until:
            self._gauges = {}
        return self._gauges.get(instrument.name, {})

    # ------------------------------------------------------------------ several processes

    def take(self) -> list[list[Any]]:
        """Takes all counted values out, as rows of plain values that JSON can carry: (kind, name, labels, values).

        If the gauges were replaced since the last call, the rows replace them in the other store, too. All processes of a host share the
        clock ``monotonic``.
        """
        counters, self._counters = self._counters, {}
        histograms, self._histograms = self._histograms, {}
        rows: list[list[Any]] = [
            ["counter", name, list(labels), [value]] for name, labels, value in _each(counters)
        ]
        rows += [
            ["histogram", name, list(labels), [*found.counts, found.total]]
            for name, labels, found in _each(histograms)
        ]
        if self._has_new_gauges:
            rows.append(["gauges", "", [], [self._valid_until]])
            rows += [["gauge", name, list(labels), [value]] for name, labels, value in _each(self._gauges)]
        self._has_new_gauges = False
        return rows

    def merge(self, rows: Iterable[list[Any]]) -> None:
        """Adds rows that ``take`` of another store has returned."""
        for kind, name, labels, values in rows:
            if kind == "gauges":
                self.set_gauges({}, values[0])
                continue
            instrument = INSTRUMENTS[name]
            bounded = self._values.bounded(instrument, tuple(labels))
            if kind == "gauge":
                self._gauges.setdefault(name, {})[bounded] = values[0]
            elif kind == "counter":
                self.add(instrument, bounded, values[0])
            else:
                found = self._histogram(instrument, bounded)
                found.counts = [mine + other for mine, other in zip(found.counts, values, strict=False)]
                found.total += values[-1]


def _each(series: dict[str, dict[Labels, Any]]) -> Iterator[tuple[str, Labels, Any]]:
    return ((name, labels, value) for name, of_name in series.items() for labels, value in of_name.items())
