"""The options of commands that list rows page by page, the newest first."""

from __future__ import annotations

from typing import Annotated

import typer
from typer.models import OptionInfo

from pgqueue.ui.cli.ids import LARGEST_ID

MOST_ROWS = 2**31 - 1

PageSize = Annotated[int, typer.Option("-n", "--limit", metavar="N", min=1)]


def before_option(things: str) -> OptionInfo:
    """Returns the option ``--before``. ``things``: what the command lists."""
    option: OptionInfo = typer.Option(
        metavar="ID",
        min=1,
        help=f"Only {things} with a smaller id. For the next page, give the last id of this page.",
        show_default=False,
    )
    return option


def page(limit: int, below: int | None) -> tuple[int, int | None]:
    """Returns the two options as numbers that PostgreSQL can take. No id and no number of rows is larger than these."""
    return min(limit, MOST_ROWS), below and min(below, LARGEST_ID)
