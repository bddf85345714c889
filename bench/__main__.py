"""``python -m bench [QUESTION ...]``: every question, or those named."""

import contextlib
import importlib
import importlib.util
from pathlib import Path
from typing import Annotated

import typer

from bench import peers
from bench.report import Report, environment
from bench.server import server, shown_settings

QUESTIONS = ("drain", "latency", "enqueue", "snapshot")


app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command()
def main(
    questions: Annotated[
        list[str] | None, typer.Argument(help=f"Any of {', '.join(QUESTIONS)}; all if none.")
    ] = None,
    system: Annotated[list[str] | None, typer.Option(help="Measure only these; may be repeated.")] = None,
    rounds: Annotated[
        int | None, typer.Option(help="Interleaved rounds, of which the median is shown.")
    ] = None,
    scale: Annotated[
        float, typer.Option(help="Fewer or more jobs, calls and samples: 0.1 for a quick look.")
    ] = 1.0,
    json: Annotated[
        Path | None, typer.Option(help="Append every measurement to this file, a line each.")
    ] = None,
) -> None:
    """Measure pgqueue and its peers on one Postgres server, each at the settings its documentation recommends."""
    asked = questions or list(QUESTIONS)
    if unknown := set(asked) - set(QUESTIONS):
        raise typer.BadParameter(f"no such question: {', '.join(unknown)}; there are {', '.join(QUESTIONS)}")
    systems = system or list(peers.NAMES)
    options = {"scale": scale} | ({"rounds": rounds} if rounds else {})
    with contextlib.ExitStack() as stack:
        dsn = stack.enter_context(server())
        lines = stack.enter_context(json.open("a")) if json else None
        report = Report(environment(systems, shown_settings(dsn)), lines)
        for question in asked:
            importlib.import_module(f"bench.{question}").run(dsn, systems, report, **options)


if __name__ == "__main__":
    app()
