"""Begins to count if the application has set up an SDK for metrics. Without an SDK, metrics.py and OpenTelemetry's metrics are not imported."""

from __future__ import annotations

import os
import sys


def begin_if_metered() -> None:
    """Begins to count if the application has set up an SDK for metrics. To set one up, it must have imported OpenTelemetry's metrics."""
    if "opentelemetry.metrics" in sys.modules or os.environ.get("OTEL_PYTHON_METER_PROVIDER"):
        from pgqueue.telemetry import metrics  # noqa: PLC0415 - most processes count nothing

        metrics.begin_if_metered()
