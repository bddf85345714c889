"""Tests of the proxy with which the benchmark counts round trips. A small server stands for the database."""

import socket
import threading
from urllib.parse import urlencode

import pytest
from psycopg.conninfo import conninfo_to_dict

from bench.durable.trips import counted


@pytest.fixture
def dsn(tmp_path):
    """Yields the DSN of a server that answers with the same bytes, but only to a message that ends in "?"."""
    door = socket.socket(socket.AF_UNIX)
    door.bind(str(tmp_path / ".s.PGSQL.5432"))
    door.listen()

    def serve():
        client, _ = door.accept()
        with client:
            while data := client.recv(1000):
                if data.endswith(b"?"):
                    client.sendall(data)

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    yield f"postgresql://ann@/shop?{urlencode({'host': tmp_path})}"
    thread.join(5)
    door.close()


def test_each_exchange_with_the_server_is_a_round_trip(dsn):
    with counted(dsn) as trips:
        parts = conninfo_to_dict(trips.dsn)
        assert (parts["user"], parts["dbname"]) == ("ann", "shop")
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(f"{parts['host']}/.s.PGSQL.{parts['port']}")
            for count in (1, 2, 3):
                client.sendall(b"what?")
                assert client.recv(1000) == b"what?"
                assert trips.count == count
            client.sendall(b"one, ")
            client.sendall(b"two, three?")
            assert client.recv(1000).endswith(b"three?")
            assert trips.count == 4
