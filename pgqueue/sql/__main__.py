r"""Prints SQL as the server gets it, so that you can read it or paste it into psql.

``python -m pgqueue.sql complete`` prints a statement. Its parameters are written as variables of psql, which ``\set ids '{1,2}'`` sets.
``python -m pgqueue.sql functions/cancel`` prints a function, and ``views/running`` prints a view. Without a name, the command lists all
names.

Some lines of a statement are sent only if their name is chosen (``--? now`` at the end of the line). If names follow the statement, such as
in ``python -m pgqueue.sql insert_job now wake_now``, the command prints the statement with the lines of these names, and without the other lines.
"""

from __future__ import annotations

import re
import sys

from pgqueue.sql import OPTIONAL, TEXTS, functions, load_chosen, views

PARAMETER = re.compile(r"%\((\w+)\)s")


def printed() -> dict[str, str]:
    """Returns, for each name, the text that this command prints."""
    return {
        **{name: _for_psql(text) for name, text in TEXTS.items()},
        **{f"functions/{name}": text for name, text in functions().items()},
        **{f"views/{name}": text for name, text in views().items()},
    }


def chosen(name: str, lines: list[str]) -> str:
    """Returns a statement of which only the optional lines with these names are printed. Exits with an error if it has no such lines."""
    known = {line[2] for line in OPTIONAL.finditer(TEXTS.get(name, ""))}
    if unknown := [line for line in lines if line not in known]:
        sys.exit(
            f"{name} has no lines named {unknown[0]}."
            + (f" It has: {', '.join(sorted(known))}." if known else "")
        )
    return _for_psql(load_chosen(name, frozenset(lines)))


def _for_psql(text: str) -> str:
    return PARAMETER.sub(r":'\1'", text).replace("%%", "%")


def main(arguments: list[str]) -> None:
    texts = printed()
    name, *more = arguments or [""]
    if name in texts and more and not texts.keys() & set(more):
        found = [f"{chosen(name, more).rstrip(';')};"]
    elif unknown := [name for name in arguments if name not in texts]:
        sys.exit(f"There is no SQL named {unknown[0]}. Without a name, this command lists all names.")
    else:
        found = [f"{texts[name].rstrip(';')};" for name in arguments] or list(texts)
    sys.stdout.write("\n".join(found) + "\n")


if __name__ == "__main__":
    main(sys.argv[1:])
