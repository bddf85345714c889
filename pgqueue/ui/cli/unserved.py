"""How ``pgq doctor`` and ``pgq queues list`` tell of due jobs that no living worker claims."""

from __future__ import annotations

from pgqueue.database.statements.queues import Unserved
from pgqueue.text.counted import count
from pgqueue.text.times import span


def unserved(gap: Unserved) -> tuple[str, str]:
    """Returns what is wrong, and what to do. The function why() of SQL has the same words."""
    do = (
        f"start a worker {'that has this task' if gap.app is None else f'of the app {gap.app}'}:"
        f" pgq work -A module:app -Q {gap.queue}"
    )
    if gap.version is not None:
        its = "its checkpoints are" if gap.count == 1 else "their checkpoints are"
        why = f"{its} of version {gap.version}, and no living worker accepts it"
        do = f"start a worker whose task {gap.task} accepts {gap.version}: accepts=(…, {gap.version})"
    elif gap.is_quiet:
        why = "the workers that know this task are quiet or stop"
    elif gap.queue_served:
        why = "no living worker knows this task"
    else:
        why = "no living worker serves this queue"
    are = "is" if gap.count == 1 else "are"
    return (
        f"{count(gap.count, 'due job')} of task {gap.task} in queue {gap.queue} {are} not claimed, the oldest for {span(gap.age)}: {why}.",
        do,
    )
