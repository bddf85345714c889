"""Makes a forked process forget what it must not use: the sockets and threads of its parent."""

from __future__ import annotations

import os
from typing import Protocol
from weakref import WeakSet


class Forks(Protocol):
    def forked(self) -> None:
        """Empties this object in the new process, and closes nothing: an inherited socket still belongs to the parent."""


_known: WeakSet[Forks] = WeakSet()
_inherited: list[object] = []


def tell(one: Forks) -> None:
    """``one.forked()`` is called in every process that is forked from now on."""
    _known.add(one)


def keep(inherited: object) -> None:
    """Keeps an inherited object alive, so that no finalizer closes its sockets in this process."""
    if inherited is not None:
        _inherited.append(inherited)


def _forked() -> None:
    for one in list(_known):
        one.forked()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forked)
