"""The version of OpenTelemetry's conventions whose names pgqueue uses."""

from __future__ import annotations

SCHEMA = "https://opentelemetry.io/schemas/1.44.0"
