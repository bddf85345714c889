"""The help of ``pgq`` itself, from a stored list of commands. ``python -m pgqueue.ui.cli.root_help`` writes the list again."""

import sys

STORED = f"{__file__.rpartition('.')[0]}.txt"  # not a Path, because pathlib takes as long to import as Python to start
HEAD = """Usage: pgq [OPTIONS] COMMAND [ARGS]...

  A job queue that lives in your Postgres.

Options:
  --version      Show the version.
  -v, --verbose  Log more.
  --quiet        Log only warnings and errors.
  -h, --help     Show this message and exit. Each command has its own --help.

Commands:
"""


def show() -> None:
    """Prints the help on stdout."""
    try:
        with open(STORED, encoding="utf-8") as stored:  # noqa: PTH123
            sys.stdout.write(HEAD + stored.read())
        sys.stdout.flush()
    except BrokenPipeError:
        sys.stderr.close()  # so that Python does not complain about stdout at its end


def commands() -> str:
    """Returns the stored list, as it must be: a line for each command, with the first sentence of its help."""
    import typer

    from pgqueue.ui.cli.commands import root

    found = getattr(typer.main.get_command(root()), "commands", {})
    width = max(map(len, found)) + 2
    return "".join(
        f"  {name:<{width}}{command.get_short_help_str(200)}\n"
        for name, command in sorted(found.items())
        if not command.hidden
    )


if __name__ == "__main__":
    with open(STORED, "w", encoding="utf-8") as stored:  # noqa: PTH123
        stored.write(commands())
