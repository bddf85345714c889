"""The result of the demo."""

from __future__ import annotations

from dataclasses import dataclass

from pgqueue.dev.demo.day_result import DayResult
from pgqueue.dev.demo.evening_result import EveningResult


@dataclass(frozen=True, slots=True)
class DemoResult:
    """``ok``: everything that was played is proven. An act that was not played is None."""

    ok: bool
    seconds: float
    day: DayResult | None
    evening: EveningResult | None
