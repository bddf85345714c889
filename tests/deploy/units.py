"""What systemd says of the units of docs/deploy/systemd. An instance of a template is checked with the name of a queue."""

from __future__ import annotations

import re
import shutil
import subprocess
import tempfile
from pathlib import Path

from tests.deploy.files import UNITS, options_of, unit_settings


def complaints() -> list[str]:
    found = [complaint for path in UNITS for complaint in _times(path)]
    if shutil.which("systemd-analyze") is None:
        print("systemd-analyze is not installed, so only the times of the units are checked")
        return found
    with tempfile.TemporaryDirectory() as folder:
        for path in UNITS:
            found += verified(_here(path.read_text(encoding="utf-8")), Path(folder), path.name)
    return found


def verified(unit: str, folder: Path, name: str) -> list[str]:
    """Returns the lines that systemd-analyze prints about a unit."""
    instance = name.replace("@.", "@mail.")  # systemd-analyze reads a colon as a mark of its own
    for each in {name, instance}:
        (folder / each).write_text(unit, encoding="utf-8")
    checked = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", str(folder / instance)],
        capture_output=True,
        text=True,
        check=False,
    )
    stem = name.partition(".")[0]
    lines = [line for line in checked.stderr.splitlines() if stem in line]
    return lines or ([f"{name}: {checked.stderr}"] if checked.returncode else [])


def _here(unit: str) -> str:
    """Replaces the program, the users and the folders of a unit, which are those of another machine."""
    there = re.sub(r"^ExecStart=/srv/shop/.venv/bin/pgq", "ExecStart=/bin/true", unit, flags=re.MULTILINE)
    there = re.sub(r"^(User|Group)=shop", r"\1=root", there, flags=re.MULTILINE)
    return re.sub(r"^(WorkingDirectory|EnvironmentFile|LoadCredential)=.*\n", "", there, flags=re.MULTILINE)


def _times(path: Path) -> list[str]:
    settings = unit_settings(path)
    if settings["Type"] != ["notify"]:
        return []
    options = options_of(settings["ExecStart"][0].split())
    found = []
    if int(settings["TimeoutStopSec"][0]) <= options["grace"]:
        found.append(f"{path.name}: TimeoutStopSec is not longer than --grace")
    if int(settings["TimeoutStartSec"][0]) <= options["wait_for_db"]:
        found.append(f"{path.name}: TimeoutStartSec is not longer than --wait-for-db")
    return found
