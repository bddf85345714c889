"""Python's garbage collection at the start of a process."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def lasting() -> Iterator[None]:
    """Imports in the block modules that live as long as the process: no garbage collection visits them, neither in the block nor later.

    What the block itself sets for collections stays as it is.
    """
    before = gc.get_threshold()
    gc.set_threshold(0)
    try:
        yield
        gc.collect()
        gc.freeze()
    finally:
        if gc.get_threshold()[0] == 0:
            gc.set_threshold(*before)
