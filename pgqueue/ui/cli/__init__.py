"""``pgq``: commands that call the library and contain little logic. ``entry.py`` lists the exit codes.

The help of ``pgq`` itself is a stored text (``root_help.py``), because to make it would import every command and its libraries.
"""

from __future__ import annotations

import sys


def main() -> None:
    """Runs the console script."""
    if sys.argv[1:] in (["--help"], ["-h"]) and sys.stdout is not None:
        from pgqueue.ui.cli.root_help import show

        show()
        sys.exit(0)
    from pgqueue.ui.cli.entry import main as run

    run()
