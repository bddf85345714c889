"""Writes results for readers: the table in the README, the page docs/benchmarks.md, and the list of targets."""

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from rich.console import Console
from rich.table import Table

from bench.report import OURS, Question, Results, joined, label, number, split, spread

BEGIN, END = "<!-- bench -->", "<!-- /bench -->"
ABOUT = """# Benchmarks

`python -m bench report` makes this page from the measurements in `bench/results/`. It shows the median and the range of the rounds. Each
question is a module of `bench/`, and the first lines of the module explain what is measured. Parentheses contain the variant: for example,
`x2` means two worker processes, and `deleted at once` means that completed jobs are deleted when they end.
"""
HEAD = "| measure | pgqueue | min to max | other systems | ratio to the best |\n|---|---:|---:|---|---:|"

Questions = Mapping[str, Question]


def rewrite(readme: Path, results: Results, questions: Questions, plots: Iterable[Path] = ()) -> None:
    """Replaces the table between the README's markers, and writes docs/benchmarks.md.

    The README shows only the measures for which other systems were measured, too. docs/benchmarks.md shows all measures.
    """
    pictures = "".join(f"\n\n![{plot.stem}]({plot.relative_to(readme.parent)})" for plot in plots)
    head, _, rest = readme.read_text().partition(BEGIN)
    _, found, tail = rest.partition(END)
    if not found:
        raise ValueError(f"{readme} has no {BEGIN} followed by {END}")
    readme.write_text(f"{head}{BEGIN}\n{table(results, questions, compared=True)}{pictures}\n{END}{tail}")
    (readme.parent / "docs" / "benchmarks.md").write_text(page(results, questions))


def page(results: Results, questions: Questions) -> str:
    return "\n".join([ABOUT, table(results, questions), "", *_environment(results), ""])


def table(results: Results, questions: Questions, *, compared: bool = False) -> str:
    """Returns the table as Markdown. With ``compared``, it has only the measures for which other systems were measured, too."""
    lines = [HEAD]
    for name in filter(results.systems, questions):
        lines += _rows(name, questions[name], results, compared=compared)
    return "\n".join(lines)


def _environment(results: Results) -> Iterator[str]:
    """Yields lines with the machine, the versions and the settings. If a value differs between parts of the run, all its values are listed."""
    yield "<details><summary>Machine, versions and settings</summary>\n"
    for key in dict.fromkeys(key for environment in results.environments for key in environment):
        values = dict.fromkeys(str(e[key]) for e in results.environments if key in e)
        yield f"- {key}: {' and '.join(values)}"
    yield "\n</details>"


def _rows(name: str, question: Question, results: Results, *, compared: bool) -> Iterator[str]:
    for value in getattr(question, "HEADLINES", question.SHOWN[:1]):
        for variant in dict.fromkeys(split(system)[1] for system in results.systems(name)):
            ours = joined(OURS, variant)
            peers = results.peers(name, value, ours)
            others = ", ".join(f"{peer} {number(figure)}" for peer, figure in peers.items())
            if not peers and (compared or not results.values(name, value, ours)):
                continue
            ratio = results.ratio(name, value, ours)
            measure = f"{question.TITLE}{variant and f' ({variant})'}: {label(value)}"
            cells = (
                number(results.median(name, value, ours)),
                spread(results.values(name, value, ours)),
                others,
            )
            yield f"| {measure} | {' | '.join(cells)} | {'' if ratio is None else f'{ratio:.2f}'} |"


def show_targets(console: Console, results: Results, questions: Questions) -> None:
    table = Table(title="targets", title_justify="left")
    for column in ("question", "target", "bound", "measured", ""):
        table.add_column(column, justify="right" if column in {"bound", "measured"} else "left")
    words = {True: "[green]met[/]", False: "[red]missed[/]", None: "not measured"}
    for name, question in questions.items():
        for target in getattr(question, "TARGETS", []):
            bound = f"{'≥' if target.at_least else '≤'} {number(target.bound)}"
            figure, verdict = number(target.measured(results)), words[target.met(results)]
            table.add_row(name, target.text, bound, figure, verdict)
    console.print(table)
