"""``DjangoApp`` is an App whose calls use Django's connections, so that its jobs commit and roll back together with the ORM's rows."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import ParamSpec, TypeVar

from asgiref.sync import sync_to_async
from psycopg import AsyncConnection, Connection
from psycopg.pq import TransactionStatus

from pgqueue.app.app import App
from pgqueue.app.storing import JobStore
from pgqueue.database.confirming import confirmed
from pgqueue.database.dsn import libpq_dsn
from pgqueue.database.for_django import errors_noted
from pgqueue.database.joining import joined
from pgqueue.errors import WrongConnectionError
from pgqueue.integrations.django import conf
from pgqueue.integrations.django.connections import kept_fresh
from pgqueue.runtime import origin

P = ParamSpec("P")
T = TypeVar("T")


class DjangoApp(App):
    """An App in a Django project. All its calls use the connection that Django has in this thread to the database of ``PGQUEUE["DATABASE"]``.

    In a block of ``transaction.atomic``, a job exists if and only if the block commits. Outside of such a block, each call commits by
    itself, like Django's own queries. The async methods use the connection of Django's async code (``sync_to_async``). A transaction
    that your code opens on another connection is joined as before: ``task.using(conn)``.

    ``name``, ``version`` and ``pool_size`` are those of ``App``. The pool is for ``job.transaction()``, ``app.connection()`` and the
    steps of handlers, which do not use Django's connection.
    """

    def __init__(
        self, *, name: str | None = None, version: str | None = None, pool_size: int | None = None
    ) -> None:
        super().__init__(name=name, version=version, pool_size=pool_size)
        self.store = DjangoStore(self, lambda: self.dsn, pool_size)
        self.middleware(kept_fresh)

    @property
    def dsn(self) -> str:
        """Returns the DSN of the Django database, or of the command line. Raises InvalidSettingError if the settings name no PostgreSQL."""
        explicit = self._dsn or origin.handed.dsn
        return libpq_dsn(explicit) if explicit else conf.dsn()


class DjangoStore(JobStore):
    """The jobs of a ``DjangoApp``."""

    def __init__(self, app: object, dsn: Callable[[], str], pool_size: int | None) -> None:
        super().__init__(app, dsn, pool_size)
        self.in_thread = in_djangos_thread

    def own(self, *, autocommit: bool = False) -> AbstractContextManager[Connection]:
        return own(autocommit=autocommit)


@contextmanager
def own(*, autocommit: bool = False) -> Iterator[Connection]:
    """Opens a block with the psycopg connection inside Django's. If Django has no transaction there, the block is one, unless ``autocommit``."""
    wrapper = conf.connection()
    inner = joined(wrapper)
    if not isinstance(inner, Connection):
        kind = "an AsyncConnection" if isinstance(inner, AsyncConnection) else "no connection of psycopg"
        raise WrongConnectionError(f"Django's connection {wrapper.alias!r} is {kind}.")
    with errors_noted(wrapper):
        if not inner.autocommit or inner.info.transaction_status is not TransactionStatus.IDLE:
            yield inner
        elif autocommit:
            with confirmed(inner):
                yield inner
        else:
            with confirmed(inner), inner.transaction():
                yield inner


def in_djangos_thread(function: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Awaitable[T]:
    """Calls a function on the thread whose connection Django's async ORM uses."""
    called: Awaitable[T] = sync_to_async(function, thread_sensitive=True)(*args, **kwargs)
    return called
