"""``pgq``: commands that call the library and contain little logic. ``entry.py`` lists the exit codes.

The help of ``pgq`` itself is a stored text (``root_help.py``), because to make it would import every command and its libraries.
Until the help is shown, ``sys`` is the only other module that is imported.
"""

import sys


def main() -> None:
    """Runs the console script."""
    words = sys.argv[1:]
    if words in ([], ["--help"], ["-h"]) and sys.stdout is not None:
        from pgqueue.ui.cli.root_help import show

        show()
        sys.exit(0 if words else 2)
    from pgqueue.ui.cli.entry import main as run

    run()
