"""A real Postgres of one's own, when no DSN is given: for development, the demo and the tests.

Only the binaries come from elsewhere. Starting, sharing and stopping are our own code: on a developer's machine, too, it
must leak no server, lose no data and kill no foreign process. One directory holds one server:

    pgdata/   its data        socket/   its only entrance, mode 0700: no TCP, so no password is needed
    owner     locked by the process that runs Postgres; while it is unlocked, a Postgres here is an orphan
    users     locked (shared) by every process that uses the server, until the process ends in any way
    mutex     locked while a program arrives or the last one leaves
    log       of Postgres

``start`` runs a server owned by the calling process. ``acquire`` starts or joins a server that outlives its first user. A
supervisor (``python -m pgqueue.dev.embedded``) owns that server. Once the last lock on ``users`` is gone, it stops the server.
Locks and libpq's ping tell whether a server lives, never a pid: pids are reused, and their processes may be zombies.
Root's server runs as ``nobody``, because Postgres refuses root.
"""

from pgqueue.dev.embedded.binaries import find_binaries
from pgqueue.dev.embedded.home import default_data_dir
from pgqueue.dev.embedded.server import Postgres, start
from pgqueue.dev.embedded.sharing import EmbeddedServer, acquire, running

__all__ = ["EmbeddedServer", "Postgres", "acquire", "default_data_dir", "find_binaries", "running", "start"]
