"""Finds out whether a failed attempt has stored a checkpoint, if it has saved its place on a connection that the user commits."""

from __future__ import annotations

import asyncio

from pgqueue.model.steps import LOAD
from pgqueue.worker.attempt import Attempt, required

CONFIRMATION = 5.0  # the time limit, in seconds, for the answer of the database whether a place was saved


def confirm(attempt: Attempt) -> None:
    """Finds out whether a failed attempt has saved its place on a connection of the user, and notes the answer. Raises no error."""
    try:
        found = required(attempt.keeper).ask(attempt, LOAD).result(CONFIRMATION)
    except BaseException:  # noqa: BLE001 - also an interruption: then the attempt counts as usual
        found = []
    attempt.has_checkpoint = any(one.lease_id == attempt.lease_id for one in found)


async def aconfirm(attempt: Attempt) -> None:
    """``confirm`` on an event loop."""
    try:
        async with asyncio.timeout(CONFIRMATION):
            found = await required(attempt.keeper).aask(attempt, LOAD)
    except BaseException:  # noqa: BLE001
        found = []
    attempt.has_checkpoint = any(one.lease_id == attempt.lease_id for one in found)
