"""If a test fails, pytest reports it under its own name, and the other tests still run."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from tests.stages.test_joining import WAYS

ROOT = Path(__file__).parents[2]
FAILING = """
from tests.stages.test_joining import joining, ship


def test_that_fails(joining, ship, db):
    async def scenario(joined):
        await joined.order(1)
        handle = await joined.enqueue(ship, 1)
        assert not handle.created, "reported by pytest itself"
        await joined.commit()

    joining(scenario)


def test_that_passes(): ...
"""


def test_a_failed_test_is_reported_and_the_other_tests_still_run(tmp_path: Path) -> None:
    """Some of the failing tests use SQLAlchemy's asyncio. When these tests fail, they leave connections open."""
    file = tmp_path / "test_failing.py"
    file.write_text(FAILING)
    command = [sys.executable, "-m", "pytest", "-n", "0", "-p", "tests.conftest", "-c", ROOT / "pyproject.toml", "--rootdir", ROOT, file]  # fmt: skip
    done = subprocess.run(command, cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True, timeout=300, check=False)  # fmt: skip
    assert done.returncode == 1, done.stdout[-3000:]
    assert "INTERNALERROR" not in done.stdout + done.stderr
    assert done.stdout.count("reported by pytest itself") >= 10
    assert "test_that_fails[SQLAlchemy AsyncSession on asyncpg]" in done.stdout
    assert f"{len(WAYS)} failed, 1 passed" in done.stdout
