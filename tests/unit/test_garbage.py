"""Modules are imported without garbage collections, and an app that changes the collections itself keeps what it has set."""

from __future__ import annotations

import gc
import importlib
from collections.abc import Iterator

import pytest

from pgqueue.runtime.garbage import lasting


@pytest.fixture(autouse=True)
def _as_before() -> Iterator[None]:
    before = gc.get_threshold()
    yield
    gc.unfreeze()
    gc.enable()
    gc.set_threshold(*before)


def test_the_block_collects_nothing_and_the_thresholds_come_back_even_after_an_error() -> None:
    gc.set_threshold(700, 9, 8)
    with lasting():
        assert gc.get_threshold()[0] == 0
    assert (gc.get_threshold(), gc.isenabled()) == ((700, 9, 8), True)
    with pytest.raises(ModuleNotFoundError), lasting():
        importlib.import_module("no_such_app")
    assert (gc.get_threshold(), gc.isenabled()) == ((700, 9, 8), True)


def test_an_app_that_turns_the_collections_off_or_sets_thresholds_keeps_this() -> None:
    with lasting():
        gc.disable()
        gc.set_threshold(50_000, 20, 30)
    assert not gc.isenabled()
    assert gc.get_threshold() == (50_000, 20, 30)
