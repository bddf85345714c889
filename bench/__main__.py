"""``python -m bench [QUESTION ...]`` measures the named questions, or all questions.

``python -m bench report FILE`` writes the results of FILE into the README and docs/.
"""

import importlib
import importlib.util
from collections.abc import Collection
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from typer.core import TyperGroup

from bench import peers
from bench.environment import environment
from bench.publish import rewrite, show_targets
from bench.report import Question, Report, Results
from bench.server import server, shown_settings

HERE = Path(__file__).parent
RESULTS = HERE / "results"
ORDER = (
    "limit", "drain", "latency", "urgent", "straggler", "enqueue", "transaction", "bulk", "cost", "backlog", "history",
    "snapshot", "hostile", "idle", "wakeups", "fleet", "limits", "keys", "durable", "pages", "top",
)  # fmt: skip
QUESTIONS = [name for name in ORDER if importlib.util.find_spec(f"bench.{name}")]


class Commands(TyperGroup):
    """If the first word is not the command ``report`` or ``ask``, all words are questions of the command ``ask``."""

    def parse_args(self, ctx: typer.Context, args: list[str]) -> list[str]:
        return super().parse_args(ctx, args if args[:1] in (["report"], ["ask"]) else ["ask", *args])


app = typer.Typer(cls=Commands, add_completion=False, pretty_exceptions_enable=False)


def module(name: str) -> Question:
    return importlib.import_module(f"bench.{name}")  # type: ignore[return-value]


def compared(question: str) -> Collection[str]:
    """Returns the names of the systems that a question can compare."""
    return getattr(module(question), "SYSTEMS", peers.NAMES)


def settings(question: str, systems: list[str]) -> dict[str, str]:
    """Returns the settings with which a question runs systems, if they differ from those of the other questions."""
    return module(question).settings(systems) if hasattr(module(question), "settings") else {}


@app.command()
def ask(
    questions: Annotated[
        list[str] | None, typer.Argument(help=f"Any of {', '.join(QUESTIONS)}; default: all.")
    ] = None,
    system: Annotated[
        list[str] | None,
        typer.Option(help="Measure only this system. You can give this option several times."),
    ] = None,
    rounds: Annotated[
        int | None, typer.Option(help="The number of rounds; the tables show the medians of the rounds.")
    ] = None,
    scale: Annotated[float, typer.Option(help="A factor for the numbers of jobs, calls and samples.")] = 1.0,
    quick: Annotated[
        bool,
        typer.Option("--quick", help="For a first look: measure only one round, with a tenth of --scale."),
    ] = False,
    load: Annotated[
        float | None,
        typer.Option(
            help="The jobs/s that load the worker in `latency`; default: half of pgqueue's rate in `drain`."
        ),
    ] = None,
    json: Annotated[
        Path | None, typer.Option(help="Append each measurement to this file, as one line of JSON.")
    ] = None,
) -> None:
    """Measure pgqueue and other systems on one Postgres server, each with the settings that its documentation recommends."""
    asked = QUESTIONS if not questions or questions == ["all"] else questions
    if unknown := set(asked) - set(QUESTIONS):
        raise typer.BadParameter(f"no such question: {', '.join(unknown)}; there are {', '.join(QUESTIONS)}")
    if unknown := set(system or []) - set(peers.ALL):
        raise typer.BadParameter(f"no such system: {', '.join(unknown)}; there are {', '.join(peers.ALL)}")
    wanted = [name for name in system or peers.ALL if any(name in compared(question) for question in asked)]
    missing = {name: reason for name in wanted if (reason := peers.available(name))}
    for name, reason in missing.items():
        print(f"{name} is left out: {reason}")
    if not (systems := [name for name in wanted if name not in missing]):
        raise typer.Exit(1)
    options: dict[str, Any] = {"scale": scale * 0.1 if quick else scale}
    if rounds or quick:
        options["rounds"] = rounds or 1
    RESULTS.mkdir(exist_ok=True)
    file = json or RESULTS / f"{datetime.now(UTC):%Y-%m-%dT%H%M%S}.jsonl"
    with server() as dsn, file.open("a") as lines:
        found = environment(systems, shown_settings(dsn))
        report = Report(
            found | {line: said for name in asked for line, said in settings(name, systems).items()}, lines
        )
        for name in asked:
            more = {"load": load} if load and name == "latency" else {}
            try:
                module(name).run(
                    dsn, [one for one in systems if one in compared(name)], report, **options, **more
                )
            except Exception:  # noqa: BLE001 - the other questions are still asked
                report.fail(name)
        show_targets(report.console, report.results, {name: module(name) for name in asked})
    report.console.print(f"python -m bench report {file}", soft_wrap=True)
    if report.failed:
        report.console.print(f"[red]failed[/]: {', '.join(report.failed)}", soft_wrap=True)
        raise typer.Exit(1)


@app.command()
def report(
    files: Annotated[
        list[Path] | None,
        typer.Argument(
            help="Files with the measurements of one run. A run can have several files.", exists=True
        ),
    ] = None,
    readme: Annotated[Path, typer.Option(help="The README whose table is replaced.")] = HERE.parent
    / "README.md",
) -> None:
    """Replace the README's table, and in docs/ the table of all results and the plots. List all targets."""
    results = Results.read(files or [RESULTS / "published.jsonl"])
    questions = {name: module(name) for name in QUESTIONS}
    from bench.plots import draw  # only this command needs matplotlib

    rewrite(readme, results, questions, draw(results, readme.parent / "docs"))
    show_targets(Console(), results, questions)


if __name__ == "__main__":
    app()
