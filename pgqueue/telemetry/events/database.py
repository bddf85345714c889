"""Facts about connections, about statements that failed, and about settings files.

``dsn`` has no password. ``why`` is an error in one line. ``bug`` is an error that must not happen, so its log line has the whole traceback.
"""

from __future__ import annotations

from typing import Literal, NamedTuple


class OutageBegun(NamedTuple):
    dsn: str
    why: str


class OutageOver(NamedTuple):
    seconds: float


class ConnectionBroke(NamedTuple):
    """The connection will be opened again. ``is_silent``: the server gave no answer within the time limit."""

    connection: str
    why: str
    is_silent: bool


class ConnectionNotClosed(NamedTuple):
    bug: BaseException


class TurnFailed(NamedTuple):
    """A part of pgqueue that does the same work again and again (``service``) failed once. It tries again after ``pause`` seconds.

    The same error is emitted at most once a minute.
    """

    service: str
    kind: Literal["conflict", "answer", "bug"]
    why: str
    pause: float
    bug: BaseException | None


class PollingBegun(NamedTuple):
    """The DSN of a part of pgqueue (``service``) leads to a pooler, so the part looks at the database now and then."""

    service: str


class JobPassedOver(NamedTuple):
    """A statement over many jobs failed because of this job. The job stays as it is, and the statement leaves it out for now."""

    job_id: int
    why: str


class NodeRefused(NamedTuple):
    """The database refuses to go on with a node, for instance because of a trigger. The node can be a gate. The leader tries it again."""

    node_id: int
    why: str


class WorkflowPassedOver(NamedTuple):
    """Some open jobs of a workflow could not be cancelled. The leader cancels the others, and tries these again later."""

    workflow_id: int
    why: str


class JobGivenUp(NamedTuple):
    """A statement over many jobs failed because of this job, so the job was made dead."""

    job_id: int
    task: str
    why: str


class JobNotGivenUp(NamedTuple):
    job_id: int
    why: str
    bug: BaseException


class LookoutFailed(NamedTuple):
    """The thread that waits for the results of jobs failed."""

    bug: BaseException


class SettingsNotTrusted(NamedTuple):
    """A settings file is not read, because it belongs to another user."""

    path: str
    owner: int
