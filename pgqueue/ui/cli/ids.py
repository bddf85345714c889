"""The ids that commands take as arguments."""

from __future__ import annotations

from typing import Annotated

import typer

LARGEST_ID = 2**63 - 1

Id = Annotated[int, typer.Argument(metavar="ID", min=1, max=LARGEST_ID, show_default=False)]
Ids = Annotated[list[int] | None, typer.Argument(metavar="ID", min=1, max=LARGEST_ID, show_default=False)]
