"""The Python files of the package as syntax trees.

Each process of a test run parses the files once, while pytest collects the tests. So the garbage collector ignores the trees (see
``conftest.pytest_collection``).
"""

from __future__ import annotations

import ast
from pathlib import Path

import pgqueue

PACKAGE = Path(pgqueue.__file__).parent

# The tree of each module, by the module's path in the package.
MODULES = {
    path.relative_to(PACKAGE).as_posix(): ast.parse(path.read_text(encoding="utf-8"))
    for path in sorted(PACKAGE.rglob("*.py"))
}
