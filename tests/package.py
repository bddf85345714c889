"""The Python files of the package as syntax trees. Each file is parsed once in each process of a test run."""

from __future__ import annotations

import ast
from functools import cache
from pathlib import Path

import pgqueue

PACKAGE = Path(pgqueue.__file__).parent


@cache
def modules() -> dict[str, ast.Module]:
    """Returns the tree of each module, by the module's path in the package."""
    return {
        path.relative_to(PACKAGE).as_posix(): ast.parse(path.read_text(encoding="utf-8"))
        for path in sorted(PACKAGE.rglob("*.py"))
    }
