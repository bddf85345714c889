"""Tests of the vital signs, of the HTTP server that answers probes, and of the lines for systemd. The sockets are real."""

from __future__ import annotations

import json
import os
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import pytest

from pgqueue.config import WorkerSettings, read_worker
from pgqueue.errors import InvalidSettingError
from pgqueue.worker.health import scrape
from pgqueue.worker.health.health import Health, Subject
from pgqueue.worker.health.server import EXCHANGE, MOST_BYTES, MOST_CONNECTIONS, listening
from pgqueue.worker.health.systemd import Notifier
from pgqueue.worker.health.thread import HealthThread
from pgqueue.worker.health.vital_signs import TICK, Sign, VitalSigns, loop_limit
from tests.waiting import wait_until

NOWHERE = "postgresql://me:s3cr3t@127.0.0.1:1/secret_name"


# ---------------------------------------------------------------- vital signs


def test_a_part_is_silent_when_its_mark_has_been_the_same_for_its_limit():
    mark = 1
    signs = VitalSigns(Sign("claimer", lambda: mark, 2 * TICK))
    signs.tick()
    signs.tick()
    assert signs.silent() == ()
    signs.tick()
    assert signs.silent() == ("claimer",)
    assert signs.failing() == ("the claimer has made no progress",)
    mark = 2
    signs.tick()
    assert signs.silent() == ()


def test_a_part_that_rests_is_never_silent():
    signs = VitalSigns(Sign("heartbeat", lambda: None, TICK))
    for _ in range(10):
        signs.tick()
    assert signs.silent() == ()


def test_the_time_before_a_rest_does_not_count_after_the_rest():
    marks = iter([1, 1, None, 1, 1])
    signs = VitalSigns(Sign("claimer", lambda: next(marks), 2 * TICK))
    for _ in range(5):
        signs.tick()
    assert signs.silent() == ()


@pytest.mark.parametrize(("blocked", "limit"), [(30.0, 10.0), (3.0, 1.0), (600.0, 10.0), (0.0, 10.0)])
def test_a_loop_is_silent_before_the_process_ends_itself(blocked, limit):
    assert loop_limit(blocked) == limit


# ---------------------------------------------------------------- HTTP


class Process:
    """What the health thread sees of a process."""

    def __init__(self) -> None:
        self.failing: list[str] = []
        self.started = self.at_work = True
        self.draining = False

    def subject(self) -> Subject:
        return Subject(
            lambda: self.failing,
            lambda: self.started,
            lambda: self.at_work,
            lambda: self.draining,
            lambda: "3 of 4",
        )


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as one:
        return int(one.getsockname()[1])


@contextmanager
def serving(process: Process, dsn: str = NOWHERE, **settings: Any) -> Iterator[int]:
    port = free_port()
    chosen = WorkerSettings(queues={"default": None}, health_port=port, **settings)
    with HealthThread(chosen, dsn, process.subject(), lambda: None):
        yield port


def ask(port: int, path: str, method: str = "GET") -> tuple[int, bytes]:
    connection = HTTPConnection("127.0.0.1", port, timeout=30)
    try:
        connection.request(method, path)
        response = connection.getresponse()
        return response.status, response.read()
    finally:
        connection.close()


def sent(port: int, request: bytes) -> bytes:
    """Sends raw bytes, and returns all that comes back until the server closes the connection."""
    with socket.create_connection(("127.0.0.1", port), timeout=30) as raw:
        raw.sendall(request)
        answer = b""
        try:
            while piece := raw.recv(65_536):
                answer += piece
        except ConnectionResetError:
            pass
        return answer


def is_closed(client: socket.socket) -> bool:
    """Waits for what the server does next with this connection."""
    try:
        return client.recv(1) == b""
    except ConnectionResetError:
        return True


def test_live_says_which_part_does_not_turn():
    process = Process()
    with serving(process) as port:
        assert ask(port, "/livez") == (200, b'{"ok": true, "failing": []}\n')
        process.failing = ["the claimer has made no progress"]
        assert ask(port, "/livez") == (
            503,
            b'{"ok": false, "failing": ["the claimer has made no progress"]}\n',
        )


def test_startup_says_whether_the_process_works():
    process = Process()
    process.started = False
    with serving(process) as port:
        assert ask(port, "/startupz")[0] == 503
        assert ask(port, "/readyz") == ask(port, "/startupz")
        process.started = True
        assert ask(port, "/startupz")[0] == 200


def test_ready_says_that_the_database_does_not_answer_and_no_value_of_the_dsn():
    process = Process()
    with serving(process) as port:
        code, body = ask(port, "/readyz")
        assert code == 503
        assert json.loads(body)["failing"] == ["the database does not serve this worker: PGQ-103"]
        process.draining, process.failing = True, ["the event loop does not respond"]
        assert json.loads(ask(port, "/readyz")[1])["failing"][:2] == [
            "the event loop does not respond",
            "the process drains",
        ]


def test_ready_waits_only_a_moment_for_a_database_that_never_answers():
    with (
        socket.create_server(("127.0.0.1", 0)) as silent,
        serving(Process(), f"postgresql://127.0.0.1:{silent.getsockname()[1]}/a") as port,
    ):
        assert b"the database has not answered within" in ask(port, "/readyz")[1]
        assert ask(port, "/livez")[0] == 200


def test_head_has_no_body_and_other_methods_and_paths_are_refused():
    with serving(Process()) as port:
        assert ask(port, "/livez", "HEAD") == (200, b"")
        assert ask(port, "/livez?verbose")[0] == 200
        assert ask(port, "/livez", "POST")[0] == 405
        for path in ("/", "/livez/", "/../livez", "/jobs", "/livez%00"):
            assert ask(port, path)[0] == 404, path


def test_metrics_without_their_package_say_in_one_line_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "pgqueue.telemetry.prometheus", None)
    monkeypatch.setattr(scrape, "PackageMissingError", ImportError)
    with serving(Process()) as port:
        code, body = ask(port, "/metrics")
        assert code == 501
        assert body == b"Metrics need a package on this host: pip install 'pgqueue-jobs[prometheus]'\n"
        assert ask(port, "/livez")[0] == 200


def test_metrics_that_cannot_be_written_are_an_error_of_the_server_and_the_probes_go_on(monkeypatch):
    def fail() -> bytes:
        raise ValueError("a bug")

    monkeypatch.setattr("pgqueue.telemetry.prometheus.prometheus_text", fail)
    with serving(Process()) as port:
        assert ask(port, "/metrics")[0] == 500
        assert ask(port, "/livez")[0] == 200


@pytest.mark.parametrize(
    "request_",
    [
        b"\r\n\r\n",
        b"GET\r\n\r\n",
        b"GET /livez\r\n\r\n",
        b"GET /livez SSH/2\r\n\r\n",
        b"\x16\x03\x01\r\n\r\n",
        b"GET / /livez HTTP/1.1\r\n\r\n",
    ],
)
def test_a_request_that_is_no_http_gets_a_400(request_):
    with serving(Process()) as port:
        assert sent(port, request_).startswith(b"HTTP/1.1 400 ")
        assert ask(port, "/livez")[0] == 200


def test_a_request_that_is_too_large_is_refused():
    with serving(Process()) as port:
        answer = sent(port, b"GET /livez HTTP/1.1\r\nX: " + b"x" * 2 * MOST_BYTES + b"\r\n\r\n")
        assert (
            answer.startswith(b"HTTP/1.1 431 ") or not answer
        )  # the rest of the request can reset the connection first
        assert ask(port, "/livez")[0] == 200


def test_slow_clients_do_not_hold_up_a_probe():
    """Far more connections than the server keeps are open, and each has sent half a request."""
    with serving(Process()) as port, ExitStack() as stack:
        slow = []
        for _ in range(4 * MOST_CONNECTIONS):
            slow.append(stack.enter_context(socket.create_connection(("127.0.0.1", port), timeout=30)))
            slow[-1].sendall(b"GET /livez HTTP/1.1\r\n")
            if len(slow) % MOST_CONNECTIONS == 0:
                assert ask(port, "/livez")[0] == 200
        assert is_closed(slow[0]), "the oldest had to make room"


def test_a_client_that_sends_nothing_is_dropped_after_its_time():
    with (
        serving(Process()) as port,
        socket.create_connection(("127.0.0.1", port), timeout=4 * EXCHANGE) as idle,
    ):
        assert is_closed(idle)


def test_a_port_that_is_taken_is_an_error_that_names_it():
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        with pytest.raises(InvalidSettingError, match=str(port)):
            listening("127.0.0.1", port)


def test_the_end_of_the_block_frees_the_port_although_clients_are_connected():
    process = Process()
    with serving(process) as port, socket.create_connection(("127.0.0.1", port)):
        assert ask(port, "/livez")[0] == 200
        ended = port
    with socket.create_server(("127.0.0.1", ended)):
        assert not [one for one in threading.enumerate() if one.name == "pgqueue health"]


def test_no_thread_is_started_without_a_port_and_without_systemd():
    with HealthThread(WorkerSettings(queues={"default": None}), NOWHERE, Process().subject(), lambda: None):
        assert not [one for one in threading.enumerate() if one.name == "pgqueue health"]


# ---------------------------------------------------------------- systemd


@pytest.fixture(params=["path", "abstract"])
def systemd(request, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[], str]]:
    """Yields a function that returns the next datagram, or '' if there is none. Its socket has a path, or an abstract name."""
    name = f"@pgqueue-test-{os.getpid()}" if request.param == "abstract" else str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as end:
        end.bind(name.replace("@", "\0", 1))
        end.setblocking(False)
        monkeypatch.setenv("NOTIFY_SOCKET", name)
        monkeypatch.setenv("WATCHDOG_USEC", "100000")
        monkeypatch.setenv("WATCHDOG_PID", str(os.getpid()))

        def next_line() -> str:
            try:
                return end.recv(4096).decode()
            except BlockingIOError:
                return ""

        yield next_line


def lines(systemd: Callable[[], str]) -> list[str]:
    return list(iter(systemd, ""))


def test_systemd_hears_when_the_process_works_and_when_it_drains(systemd):
    process = Process()
    process.started = False
    health, notifier = Health(process.subject(), NOWHERE), Notifier()
    notifier.tick(health)
    assert lines(systemd) == ["STATUS=3 of 4", "WATCHDOG=1"]
    process.started = True
    notifier.tick(health)
    assert lines(systemd)[0] == "READY=1"
    notifier.tick(health)
    process.draining = True
    notifier.tick(health)
    assert [line for line in lines(systemd) if not line.startswith(("STATUS", "WATCHDOG"))] == ["STOPPING=1"]
    notifier.close()


def test_systemd_hears_nothing_of_a_process_that_is_not_alive(systemd):
    process = Process()
    process.failing = ["the event loop does not respond"]
    health, notifier = Health(process.subject(), NOWHERE), Notifier()
    notifier.tick(health)
    assert "WATCHDOG=1" not in lines(systemd)
    process.failing = []
    notifier.tick(health)
    assert "WATCHDOG=1" in lines(systemd)
    notifier.close()


def test_the_variables_of_systemd_are_removed(systemd):
    Notifier().close()
    assert not {"NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"} & os.environ.keys()


def test_the_watchdog_of_another_process_is_not_fed(systemd, monkeypatch):
    monkeypatch.setenv("WATCHDOG_PID", "1")
    notifier = Notifier()
    notifier.tick(Health(Process().subject(), NOWHERE))
    assert "WATCHDOG=1" not in lines(systemd)
    notifier.close()


def test_a_thread_tells_systemd_without_a_port(systemd):
    with HealthThread(WorkerSettings(queues={"default": None}), NOWHERE, Process().subject(), lambda: None):
        heard: list[str] = []
        wait_until(lambda: heard.extend(lines(systemd)) or heard.count("WATCHDOG=1") >= 3)
        assert heard[0] == "READY=1"


# ---------------------------------------------------------------- the settings


def test_the_environment_goes_before_the_file_and_after_the_flags(tmp_path, monkeypatch):
    (tmp_path / "pyproject.toml").write_text(
        "[tool.pgqueue]\nhealth_port = 1\nconcurrency = 2\nlog_jobs = true\n"
    )
    monkeypatch.chdir(tmp_path)
    for name, text in {"HEALTH_PORT": "8081", "MAX_RSS": "64M", "LOG_JOBS": "off", "GRACE": "2.5"}.items():
        monkeypatch.setenv(f"PGQUEUE_{name}", text)
    assert read_worker({}) == {
        "health_port": 8081, "concurrency": 2, "max_rss": 64 << 20, "log_jobs": False, "grace": 2.5,
    }  # fmt: skip
    assert read_worker({"health_port": 9})["health_port"] == 9


@pytest.mark.parametrize(
    ("name", "text"),
    [("CONCURRENCY", "many"), ("GRACE", "long"), ("LOG_JOBS", "perhaps"), ("HEALTH_PORT", "0")],
)
def test_a_wrong_value_in_the_environment_is_an_error_that_names_the_variable(monkeypatch, name, text):
    monkeypatch.setenv(f"PGQUEUE_{name}", text)
    with pytest.raises(InvalidSettingError, match=f"PGQUEUE_{name} is"):
        read_worker({})


def test_the_address_of_a_service_of_kubernetes_is_no_setting(monkeypatch):
    monkeypatch.setenv("PGQUEUE_HEALTH_PORT", "tcp://10.0.0.1:8081")
    assert "health_port" not in read_worker({})
