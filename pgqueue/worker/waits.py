"""The sleeps of one attempt, and its waits for signals.

A sleep or a wait that is not over raises Suspended through the handler. When the handler has ended, the settler suspends the job
(sql/signals/functions/suspend.sql). So two attempts of a job never overlap. When the job is claimed again, its handler comes to the same
place, and finds the checkpoint.

Each function returns a flow, which Steps carries out. A checkpoint of a sleep contains its moment. A checkpoint of a wait contains first its
time-out, and later the signal that it got.
"""

from __future__ import annotations

from pgqueue.model.steps import StepId, TakeSignal, step_id
from pgqueue.model.suspension import Request, Signal, is_open, signal_of, wait_name
from pgqueue.runtime.clock import monotonic
from pgqueue.worker.steps import StepFlow, Steps


def sleep(steps: Steps, name: object, delay: float) -> StepFlow[None]:
    """Suspends the attempt until ``delay`` seconds after the first time that the job came here."""
    me = step_id(name)
    with steps.taking(me):
        stored = yield from steps.find(me)
        if stored is not None:
            steps.require_kind(stored, "sleep")
            left = 0.0 if stored.over_at is None else stored.over_at - monotonic()
            if left <= 0:
                return
            delay = left
        else:
            steps.require_room()
        yield from steps.suspend(Request("sleep", *me, delay, version=steps.version))


def wait_for_signal(
    steps: Steps, names: tuple[str, ...], timeout: float | None, key: str = ""
) -> StepFlow[Signal | None]:
    """Suspends the attempt until a signal with one of these names has arrived. Returns the signal; None if the time-out has passed.

    The first name and the key identify the wait. So two waits of one job whose first name is the same need different keys. ``timeout`` is in
    seconds, and is counted from the first time that the job came here. None: no time-out.
    """
    me: StepId = (wait_name(names[0]), key)
    with steps.taking(me):
        stored = steps.known(me)
        if (stored is None or is_open(stored)) and not steps.is_suspending:
            steps.require_room()
            stored = yield from steps.take_signal(TakeSignal(*me, names, steps.version))
        if stored is not None:
            steps.require_kind(stored, "wait")
        if stored is None or is_open(stored):
            yield from steps.suspend(Request("wait", *me, timeout, names, steps.version))
            raise AssertionError  # ``suspend`` never returns
        return signal_of(stored)
