"""In a forked process, makes objects forget the sockets and threads of the parent, which the new process must not use."""

from __future__ import annotations

import os
from typing import Protocol
from weakref import WeakSet


class Forks(Protocol):
    def forked(self) -> None:
        """Resets this object in the new process. It closes nothing, because the parent still uses the inherited sockets."""


_known: WeakSet[Forks] = WeakSet()
_inherited: list[object] = []


def tell(one: Forks) -> None:
    """Makes each process that is forked from now on call ``one.forked()`` when it begins."""
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
