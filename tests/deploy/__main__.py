"""Checks the files of docs/deploy: ``python -m tests.deploy [image|units|manifests]``. Without a word, checks the units and the manifests.

``units`` asks systemd-analyze, ``manifests`` reads Kubernetes manifests, the compose file and the workflow, and ``image`` builds the image,
runs a worker in it, asks for its health and stops it. That takes minutes, so CI leaves it out. Exit code 1: there are complaints.
"""

from __future__ import annotations

import sys

from tests.deploy import files, image, manifests, units


def main(words: list[str]) -> int:
    checks = {"units": units.complaints, "manifests": manifests.complaints, "image": image.complaints}
    if unknown := [word for word in words if word not in checks]:
        print(f"{unknown[0]!r} is no check. These are: {', '.join(checks)}.", file=sys.stderr)
        return 2
    found = [complaint for word in words or ["units", "manifests"] for complaint in checks[word]()]
    found += files.complaints()
    print(*found or ["no complaints"], sep="\n")
    return 1 if found else 0


sys.exit(main(sys.argv[1:]))
