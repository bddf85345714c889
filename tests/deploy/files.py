"""The files of docs/deploy, and the commands of pgqueue in them, each of which must be one that this version understands."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import typer
import yaml

from pgqueue.ui.cli.commands import root

FOLDER = Path(__file__).parents[2] / "docs" / "deploy"
DOCKERFILE = FOLDER / "Dockerfile"
COMPOSE = FOLDER / "compose.yaml"
WORKFLOW = FOLDER / "github-actions.yml"
UNITS = sorted((FOLDER / "systemd").glob("*.service"))
MANIFESTS = sorted((FOLDER / "kubernetes").glob("*.yaml"))


def instructions() -> list[tuple[str, str]]:
    """Returns the lines of the Dockerfile as pairs of a word and its arguments, without comments."""
    lines = DOCKERFILE.read_text(encoding="utf-8").splitlines()
    pairs = (line.split(maxsplit=1) for line in lines if line and not line.startswith("#"))
    return [(word, arguments) for word, arguments in pairs]


def resources() -> list[tuple[str, dict[str, Any]]]:
    """Returns the objects of the Kubernetes manifests, each with the name of its file."""
    return [
        (path.name, resource)
        for path in MANIFESTS
        for resource in yaml.safe_load_all(path.read_text(encoding="utf-8"))
    ]


def containers(resource: dict[str, Any]) -> list[dict[str, Any]]:
    pod = resource.get("spec", {}).get("template", {}).get("spec", {})
    return [*pod.get("initContainers", []), *pod.get("containers", [])]


def commands() -> Iterator[tuple[str, list[str]]]:
    """Yields each command line of ``pgq`` in the files, with the name of its file."""
    for word, arguments in instructions():
        if word in ("CMD", "HEALTHCHECK"):
            yield DOCKERFILE.name, json.loads(arguments[arguments.index("[") :])
    for service in yaml.safe_load(COMPOSE.read_text(encoding="utf-8"))["services"].values():
        yield COMPOSE.name, service.get("command", [])
    for name, resource in resources():
        for container in containers(resource):
            yield name, container["command"]
    for path in UNITS:
        yield path.name, shlex.split(unit_settings(path)["ExecStart"][0])
    steps = yaml.safe_load(WORKFLOW.read_text(encoding="utf-8"))["jobs"]["tests"]["steps"]
    for step in steps:
        yield WORKFLOW.name, shlex.split(step.get("run", ""))


def unit_settings(path: Path) -> dict[str, list[str]]:
    """Returns the values of each setting of a unit, in their order."""
    settings: dict[str, list[str]] = {}
    for name, value in re.findall(r"^(\w+)=(.*)$", path.read_text(encoding="utf-8"), re.MULTILINE):
        settings.setdefault(name, []).append(value)
    return settings


def options_of(command: list[str]) -> dict[str, Any]:
    """Returns the options of a command line of ``pgq`` as the command reads them. Raises an exception if the command does not take them."""
    read: Any = typer.main.get_command(root())
    words = command[1:]
    while below := getattr(read, "commands", None):
        read, words = below[words[0]], words[1:]
    return dict(read.make_context("pgq", words).params)


def complaints() -> list[str]:
    found = []
    for name, command in commands():
        if command and Path(command[0]).name == "pgq":
            try:
                options_of(command)
            except Exception as error:  # noqa: BLE001  of the library that typer reads command lines with
                found.append(f"{name}: {shlex.join(command)}: {error!r}")
    return found
