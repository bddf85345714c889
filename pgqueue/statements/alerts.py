"""The statements of alerts: seeing their causes, raising and resolving them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from datetime import datetime

from pgqueue.rows import Alert, AlertChange, Cause, DeadTask, Front
from pgqueue.sql import Statement
from pgqueue.statements.making import _each, _one, _statement


def watch_queues() -> Statement[list[Front]]:
    return _statement("watch_queues", _each(Front))


def watch_dead() -> Statement[list[DeadTask]]:
    return _statement("watch_dead", _each(DeadTask))


def raise_alerts(
    causes: Sequence[Cause], targets: Sequence[str], *, calm: float, remind: float | None
) -> Statement[list[AlertChange]]:
    """``targets``: the tasks that send messages. ``calm`` and ``remind`` in seconds."""
    listed = json.dumps([asdict(cause) for cause in causes], default=datetime.isoformat)
    return _statement(
        "raise_alerts", _each(AlertChange), causes=listed, targets=list(targets), calm=calm, remind=remind
    )


def list_alerts(resolved: bool, count: int = 200) -> Statement[list[Alert]]:
    return _statement("list_alerts", _each(Alert), resolved=resolved, count=count)


def resolve_alert(alert: int) -> Statement[bool | None]:
    """Whether it was open; None: there is no such alert."""
    return _statement("resolve_alert", _one, alert=alert)


def mute_alert(alert: int, seconds: float) -> Statement[datetime | None]:
    """Until when; None: there is no such alert."""
    return _statement("mute_alert", _one, alert=alert, seconds=seconds)
