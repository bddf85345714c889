"""Writes metrics in the text format of Prometheus. Only this module imports prometheus_client (extra ``prometheus``)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from pgqueue.errors import PackageMissingError
from pgqueue.telemetry.events.maintenance import Measured
from pgqueue.telemetry.instruments import INSTRUMENTS, Instrument
from pgqueue.telemetry.measures import Store
from pgqueue.telemetry.metrics import RECORDER, gauges

try:
    from prometheus_client import CollectorRegistry, generate_latest
    from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
    from prometheus_client.registry import Collector
except ImportError as error:
    raise PackageMissingError(
        "Metrics cannot be written for Prometheus.",
        why=f"the package prometheus-client is not installed ({error})",
        do="pip install 'pgqueue-jobs[prometheus]'",
    ) from None

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


def prometheus_text() -> bytes:
    """Returns all metrics of this process, and of the processes that it supervises, as the text that Prometheus scrapes.

    Its content type is CONTENT_TYPE. Any thread is allowed to call this. It does not wait for the database.
    """
    with RECORDER.counted() as store:
        return written(store)


def text_of(measured: Measured) -> bytes:
    """Returns the metrics of the whole queue, from one measurement, as the text that Prometheus scrapes."""
    store = Store()
    store.set_gauges(gauges(measured))
    return written(store, kinds=("gauge",))


def written(store: Store, kinds: tuple[str, ...] = ("counter", "histogram", "gauge")) -> bytes:
    registry = CollectorRegistry()
    registry.register(_Families(store, kinds))
    text: bytes = generate_latest(registry)
    return text


class _Families(Collector):
    def __init__(self, store: Store, kinds: tuple[str, ...]) -> None:
        self._store, self._kinds = store, kinds

    def collect(self) -> Iterator[Any]:
        return (
            self._family(instrument) for instrument in INSTRUMENTS.values() if instrument.kind in self._kinds
        )

    def _family(self, instrument: Instrument) -> Any:
        name, words, labels = instrument.exposed, instrument.help, instrument.exposed_labels
        family: Any
        match instrument.kind:
            case "counter":
                family = CounterMetricFamily(name, words, labels=labels)
                for values, count in sorted(self._store.counters(instrument).items()):
                    family.add_metric(values, count)
            case "gauge":
                family = GaugeMetricFamily(name, words, labels=labels)
                for values, value in sorted(self._store.gauges(instrument).items()):
                    family.add_metric(values, value)
            case "histogram":
                family = HistogramMetricFamily(name, words, labels=labels)
                for values, found in sorted(self._store.histograms(instrument).items()):
                    family.add_metric(values, list(_buckets(instrument, found.counts)), found.total)
        return family


def _buckets(instrument: Instrument, counts: list[int]) -> Iterator[tuple[str, float]]:
    """Yields, for each bucket, its upper limit and the number of values up to this limit."""
    total = 0
    for limit, count in zip((*instrument.buckets, float("inf")), counts, strict=True):
        total += count
        yield "+Inf" if limit == float("inf") else repr(limit), total
