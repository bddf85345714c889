"""Collects the machine, the versions and the settings of a run. Reports show them together with the figures."""

import json
import os
import platform
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from bench import peers


def environment(systems: list[str], server_settings: dict[str, str]) -> dict[str, Any]:
    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": f"{_processor()}, {os.cpu_count()} CPUs, {platform.system()} {platform.release()}",
        "load": os.getloadavg()[0],
        "python": platform.python_version(),
        "postgres": ", ".join(f"{name}={value}" for name, value in server_settings.items()),
        "job": f"async no-op, {len(json.dumps(peers.job(1)))} bytes of JSON arguments",
        **{name: peers.describe(name) for name in systems},
    }


def _processor() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.machine()
