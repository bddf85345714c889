r"""Prints SQL as the server gets it, so that you can read it or paste it into psql.

``python -m pgqueue.sql complete`` prints a statement. Its parameters are written as variables of psql, which ``\set ids '{1,2}'`` sets.
``python -m pgqueue.sql functions/cancel`` prints a function, and ``views/running`` prints a view. Without a name, the command lists all
names.
"""

from __future__ import annotations

import re
import sys

from pgqueue.sql import TEXTS, functions, views

PARAMETER = re.compile(r"%\((\w+)\)s")


def printed() -> dict[str, str]:
    """Returns, for each name, the text that this command prints."""
    return {
        **{name: PARAMETER.sub(r":'\1'", text).replace("%%", "%") for name, text in TEXTS.items()},
        **{f"functions/{name}": text for name, text in functions().items()},
        **{f"views/{name}": text for name, text in views().items()},
    }


def main(arguments: list[str]) -> None:
    texts = printed()
    unknown = [name for name in arguments if name not in texts]
    if unknown:
        sys.exit(f"There is no SQL named {unknown[0]}. Without a name, this command lists all names.")
    found = [f"{texts[name].rstrip(';')};" for name in arguments] or list(texts)
    sys.stdout.write("\n".join(found) + "\n")


if __name__ == "__main__":
    main(sys.argv[1:])
