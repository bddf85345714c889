"""The body of ``/metrics``, if the extra ``prometheus`` is installed."""

from __future__ import annotations

from pgqueue.errors import PackageMissingError
from pgqueue.telemetry import metered, operation_spans
from pgqueue.telemetry.events import emit
from pgqueue.telemetry.events.workers import HealthFailed

KIND = "text/plain; version=0.0.4; charset=utf-8"
MISSING = b"Metrics need a package on this host: pip install 'pgqueue-jobs[prometheus]'\n"


def are_possible() -> bool:
    try:
        import pgqueue.telemetry.prometheus  # noqa: F401, PLC0415 - it imports an optional library
    except PackageMissingError:
        return False
    return True


def begin(health_port: int | None) -> None:
    """Begins to count what the worker does, if the health port shows it or the application has set up an SDK for metrics.

    Also begins the spans of the worker's own statements, if the environment asks for them.
    """
    if health_port is not None and are_possible():
        from pgqueue.telemetry import metrics  # noqa: PLC0415 - most workers count nothing

        metrics.begin()
    else:
        metered.begin_if_metered()
    operation_spans.begin()


def text() -> bytes:
    """Returns all metrics of this process and of the processes that it supervises. Empty: that failed, which is a bug and is logged."""
    from pgqueue.telemetry.prometheus import prometheus_text  # noqa: PLC0415

    try:
        return prometheus_text()
    except Exception as error:  # noqa: BLE001 - it is logged
        emit(HealthFailed(error))
        return b""
