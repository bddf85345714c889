"""Stops Python's clocks in the way in which libraries such as freezegun do."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest


@contextmanager
def frozen(moment: float | None = None) -> Iterator[None]:
    """Replaces the clocks by stopped clocks, in every module that has imported them.

    A stopped clock always returns the time at which it was stopped. If ``moment`` is given, ``time.time`` returns ``moment`` instead.
    """
    with pytest.MonkeyPatch.context() as patch:
        for name in ("time", "monotonic", "perf_counter"):
            real = getattr(time, name)
            at = moment if moment is not None and name == "time" else real()

            def stopped(at: float = at) -> float:
                return at

            for module in list(sys.modules.values()):
                for attribute in [key for key, value in list(vars(module).items()) if value is real]:
                    patch.setattr(module, attribute, stopped)
        yield
