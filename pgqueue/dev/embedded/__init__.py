"""A real Postgres of one's own, when no DSN is given: for development, the demo and the tests.

Only the binaries come from elsewhere; starting, sharing and stopping are ours, because also on a developer's machine
no server may be leaked, no data lost and no stranger's process killed. One directory holds one server:

    pgdata/   its data        socket/   its only entrance, mode 0700: no TCP, so no password is needed
    owner     locked by the process that runs Postgres; while it is unlocked, a Postgres here is an orphan
    users     locked (shared) by every process that uses the server, until it dies, however it dies
    mutex     locked while a program arrives or the last one leaves
    log       of Postgres

``start`` runs a server owned by the calling process. ``acquire`` starts or joins one that outlives its first user: a
supervisor (``python -m pgqueue.dev.embedded``) owns it and stops it when the kernel has dropped the last lock on ``users``.
Life is told by locks and by libpq's ping, never by a pid: pids are reused, and their processes may be zombies.
Root's server runs as ``nobody``, because Postgres refuses root.
"""

from pgqueue.dev.embedded.binaries import find_binaries
from pgqueue.dev.embedded.home import default_data_dir
from pgqueue.dev.embedded.server import Postgres, start
from pgqueue.dev.embedded.sharing import EmbeddedServer, acquire, running

__all__ = ["EmbeddedServer", "Postgres", "acquire", "default_data_dir", "find_binaries", "running", "start"]
