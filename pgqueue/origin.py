"""How this process was started, remembered before the app is imported, which may change all of it."""

from __future__ import annotations

import os
import sys
from contextlib import suppress

EXECUTABLE = sys.executable
ARGUMENTS = tuple(sys.argv[1:])
FOLDER: str | None = None  # it was removed: then processes of ours begin where this one is

with suppress(OSError):
    FOLDER = os.getcwd()  # noqa: PTH109 - a text, for Popen
