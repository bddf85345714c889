"""The statements of alerts: those that find causes of alerts, and those that raise and resolve alerts."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from datetime import datetime

from pgqueue.database.statements.decoding import each, one, statement
from pgqueue.database.statements.masking import each_shown
from pgqueue.database.statements.noting import Who, noted
from pgqueue.model.alert import Alert, AlertChange, Cause, DeadTask, Front
from pgqueue.sql import Statement

MESSAGES_A_MINUTE = 20  # at most this many alerts in a minute have a separate message


def watch_queues() -> Statement[list[Front]]:
    return statement("watch_queues", each(Front))


def watch_dead() -> Statement[list[DeadTask]]:
    return statement("watch_dead", each_shown(DeadTask, "error"))


def raise_alerts(
    causes: Sequence[Cause],
    targets: Sequence[str],
    *,
    calm: float,
    remind: float | None,
    most: int = MESSAGES_A_MINUTE,
) -> Statement[list[AlertChange]]:
    """Raises alerts for ``causes``, and resolves alerts whose cause was not seen for ``calm`` seconds.

    Returns the alerts that it opened or resolved. ``targets``: the tasks that send messages. Each alert that stays open has a further
    message every ``remind`` seconds (None: no further message). ``most``: how many alerts in a minute have a separate message.
    """
    listed = json.dumps([asdict(cause) for cause in causes], default=datetime.isoformat)
    return statement(
        "raise_alerts",
        each(AlertChange),
        causes=listed,
        targets=list(targets),
        calm=calm,
        remind=remind,
        most=most,
    )


def list_alerts(resolved: bool, count: int = 200) -> Statement[list[Alert]]:
    return statement("list_alerts", each(Alert), resolved=resolved, count=count)


def resolve_alert(alert: int, *, who: Who | None = None) -> Statement[bool | None]:
    """Returns whether the alert was open. None: there is no such alert."""
    return noted("resolve_alert", who, one, alert=alert)


def mute_alert(alert: int, seconds: float, *, who: Who | None = None) -> Statement[datetime | None]:
    """Returns the time until which the alert is muted. None: there is no such alert."""
    return noted("mute_alert", who, one, alert=alert, seconds=seconds)
