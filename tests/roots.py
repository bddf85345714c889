"""Root directories of Debian, in which tests find another Python and another Postgres. ``debootstrap`` makes them, so only root can.

They are kept in the folder PGQUEUE_TEST_ROOTS, by default ``/var/tmp/pgqueue-roots``, one for each suite and list of packages.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
from pathlib import Path

ROOTS = Path(os.environ.get("PGQUEUE_TEST_ROOTS") or "/var/tmp/pgqueue-roots")  # root's own
MIRROR = "http://deb.debian.org/debian"
ALWAYS = ("ca-certificates", "python3", "python3-venv")
CERTIFICATES = Path("/etc/ssl/certs/ca-certificates.crt")


def why_not() -> str | None:
    """Returns why this machine can make no roots, or None."""
    if os.geteuid() != 0:
        return "only root can make a root directory of Debian"
    if not shutil.which("debootstrap"):
        return "debootstrap is not installed"
    return None


def debian(suite: str, *packages: str) -> Path:
    """Returns a root directory of this suite with these packages. Makes it if it is not there, which takes a minute or two."""
    wanted = ",".join(sorted({*ALWAYS, *packages}))
    root = ROOTS / f"{suite}-{hashlib.sha256(wanted.encode()).hexdigest()[:8]}"
    if root.exists():
        return root
    ROOTS.mkdir(parents=True, exist_ok=True)
    draft = root.with_name(f"{root.name}.draft")
    shutil.rmtree(draft, ignore_errors=True)
    subprocess.run(
        ["debootstrap", "--variant=minbase", f"--include={wanted}", suite, draft, MIRROR], check=True
    )
    draft.rename(root)
    return root


def lend_network(root: Path) -> None:
    """Gives a root directory this machine's name servers and certificates, so that pip finds the package index."""
    for file in (Path("/etc/resolv.conf"), CERTIFICATES):
        if file.exists():
            shutil.copy(file, root / file.relative_to("/"))


def network_settings() -> dict[str, str]:
    """Returns this machine's environment variables that say how to reach the network."""
    wanted = ("http_proxy", "https_proxy", "no_proxy", "pip_index_url", "pip_cert", "ssl_cert_file")
    return {name: value for name, value in os.environ.items() if name.lower() in wanted}


def with_experimental(suite: str, package: str) -> Path:
    """Returns a root directory of this suite with a package of Debian's experimental suite."""
    root = ROOTS / f"{suite}-{package}"
    if root.exists():
        return root
    draft = root.with_name(f"{root.name}.draft")
    shutil.rmtree(draft, ignore_errors=True)
    subprocess.run(["cp", "--archive", "--reflink=auto", debian(suite), draft], check=True)
    (draft / "etc/apt/sources.list.d/experimental.list").write_text(f"deb {MIRROR} experimental main\n")
    # A mirror can be some weeks behind, so that its lists have expired. Their signatures are checked nevertheless.
    update = ["apt-get", "-q", "-o", "Acquire::Check-Valid-Until=false", "update"]
    install = [
        "apt-get",
        "-q",
        "install",
        "--yes",
        "--no-install-recommends",
        "--target-release",
        "experimental",
        package,
    ]
    for command in (update, install):
        subprocess.run(["chroot", draft, "env", "DEBIAN_FRONTEND=noninteractive", *command], check=True)
    draft.rename(root)
    return root
