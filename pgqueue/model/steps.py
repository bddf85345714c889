"""The steps of a job: rules for their names, and the class of their checkpoints. This module does no I/O.

pgqueue finds the checkpoint of a step by the job, the name and the key of the step, not by the order of the steps. So another attempt of
the job can do its steps in another order or in parallel. It can also leave out steps, or do new steps between the old ones.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from functools import lru_cache
from typing import Generic, Literal, NamedTuple, TypeVar

from pgqueue.errors import InvalidNameError
from pgqueue.text.values import is_storable, name_of, shown

T_co = TypeVar("T_co", covariant=True)
Kind = Literal["step", "effect", "cursor", "sleep", "wait"]
StepName = str | tuple[str, object]
StepId = tuple[str, str]  # the name and the key of a step; the key is empty if the step has none
NAME_LIMIT = 255  # the name of a step can have at most this many bytes, and so can its key
LARGEST_KEY = 4 * NAME_LIMIT  # a number with more bits than this has more than NAME_LIMIT digits
MOST_STEPS = 10_000  # a job can have at most this many checkpoints
CURSOR = "pgqueue.saved"  # the name of the checkpoint that ``job.save`` writes
ODD = 1  # the claim sets this bit of the lease_id in the first attempt of a job, and in no later attempt


class Checkpoint(NamedTuple):
    """A row that holds what a step returned, as JSON text in ``value``. ``fingerprint`` is made of the step's arguments.

    It is None in a cursor, a sleep and a wait. ``version``: the version of the task whose code has done the step; None: the task has no
    version. ``lease_id``: the lease of the attempt that stored the row. ``at``: when the row was stored. ``over_at``: when a sleep is over,
    as a time of the clock ``time.monotonic``. Before a checkpoint is stored, the last three have their default values.
    """

    kind: str
    name: str
    key: str
    fingerprint: int | None
    value: str
    version: int | None = None
    lease_id: int = 0
    at: datetime | None = None
    over_at: float | None = None

    @property
    def step_id(self) -> StepId:
        return self.name, self.key


class StepCall(NamedTuple, Generic[T_co]):
    """A call of the user's function, which returns ``T_co``."""

    function: Callable[..., T_co]
    args: tuple[object, ...]
    kwargs: Mapping[str, object]

    def with_connection(self) -> Callable[[object], T_co]:
        return lambda connection: self.function(connection, *self.args, **self.kwargs)


class Load(NamedTuple):
    """Asks for all checkpoints of a job. ``is_first``: whether the attempt has not asked and has stored nothing before.

    Then the checkpoints can be those that the worker has read ahead, before the attempt began.
    """

    is_first: bool = False


class TakeSignal(NamedTuple):
    """Asks for the end of a wait: takes the oldest signal with one of these ``names``, or finds that the time-out has passed.

    ``name`` and ``key`` name the checkpoint in which the end is stored, with the ``version`` of the task. If the wait is not over, the
    answer is no checkpoint. ``loads``: whether the answer also contains all other checkpoints of the job, so that a job which goes on after
    its wait needs only one round trip.
    """

    name: str
    key: str
    names: tuple[str, ...]
    version: int | None = None
    loads: bool = False


LOAD, FIRST_LOAD = Load(), Load(is_first=True)
# What an attempt asks the checkpointer: to store this checkpoint, to load all checkpoints, or to end a wait if it is over.
Question = Checkpoint | Load | TakeSignal


def is_first(lease_id: int) -> bool:
    """Whether this lease belongs to the first attempt of its job. Such a job has no checkpoints.

    See sql/claiming/fragments/starting.sql.
    """
    return lease_id & ODD == 1


def step_id(name: object) -> StepId:
    """Returns the name and the key of a step, as two texts. ``name`` is a text such as ``"pay"``, or a pair such as ``("page", 3)``.

    The key is empty if ``name`` is a text. Raises InvalidNameError if ``name`` has another form or breaks a rule for names.
    """
    key: object = ""
    if isinstance(name, tuple) and len(name) == 2:
        name, key = name
        if isinstance(key, bool) or not isinstance(key, str | int):
            raise _bad_name(
                name, f"its key is {name_of(key)} ({shown(key)})", "give a text or a whole number as the key"
            )
        if key == "":
            raise _bad_name(name, "its key is empty", "give the name alone, or a key that is not empty")
    if not isinstance(name, str):
        raise _bad_name(name, "it is no text", 'give a name, or a name and a key: ("page", 3)')
    if (
        isinstance(key, int) and key.bit_length() > LARGEST_KEY
    ):  # Python does not even write very long numbers
        raise _bad_name(name, f"its key has more than {NAME_LIMIT} bytes", "make it shorter")
    return _checked_id(str.__str__(name), str(key))  # the text itself, also of an enum's member


@lru_cache(1024)
def _checked_id(name: str, key: str) -> StepId:
    """Returns the name and the key if they keep the rules. Remembers them, because handlers use the same few again and again."""
    for what, text in (("name", name), ("key", key)):
        if not is_storable(text):
            raise _bad_name(
                name,
                f"its {what} contains a character that PostgreSQL cannot store",
                "leave this character out",
            )
        if len(text.encode()) > NAME_LIMIT:
            raise _bad_name(name, f"its {what} has more than {NAME_LIMIT} bytes", "make it shorter")
    if not name or name.startswith("pgqueue."):
        raise _bad_name(
            name, "it is empty, or begins with pgqueue., which is reserved", "give it another name"
        )
    return name, key


def named(step_id: StepId) -> str:
    """Returns the text by which messages name a step: ``'pay'``, or ``('page', '3')`` if the step has a key."""
    name, key = step_id
    return ascii(step_id if key else name)


def _bad_name(name: object, why: str, do: str) -> InvalidNameError:
    return InvalidNameError(f"{shown(name)} cannot name a step: {why}.", do=do)
