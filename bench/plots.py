"""Draws the results as pictures, each in a file of its own. A picture is drawn only if its values were measured."""

from collections.abc import Callable
from pathlib import Path
from statistics import median

import matplotlib as mpl

mpl.use("Agg")  # writes files, and needs no display

from matplotlib import pyplot as plt
from matplotlib.axes import Axes

from bench.report import OURS, Results, joined, label, number, split

OUR_COLOUR, OTHERS = "#1f6feb", "#9aa4b2"
STEADY = {
    "backlog": ("jobs_per_s", "jobs in the backlog"),
    "history": ("jobs_per_s", "finished jobs"),
    "snapshot": ("pickup_p99_ms", "with a held snapshot"),
}


def draw(results: Results, folder: Path) -> list[Path]:
    """Draws the pictures, and returns the files that were written."""
    folder.mkdir(exist_ok=True)
    plots: dict[str, Callable[[Results], bool]] = {"drain": drain, "latency": latency, "steady": steady}
    drawn = []
    for name, plot in plots.items():
        if plot(results):
            drawn.append(folder / f"bench-{name}.png")
            plt.savefig(drawn[-1], dpi=120, bbox_inches="tight")
        plt.close("all")
    return drawn


def drain(results: Results) -> bool:
    systems = [system for system in results.systems("drain") if not split(system)[1]]
    if not systems:
        return False
    rates = {system: results.values("drain", "jobs_per_s", system) for system in systems}
    systems.sort(key=lambda system: median(rates[system]))
    middles = [median(rates[system]) for system in systems]
    ends = [[middle - min(rates[s]) for s, middle in zip(systems, middles, strict=True)],
            [max(rates[s]) - middle for s, middle in zip(systems, middles, strict=True)]]  # fmt: skip
    _, axes = plt.subplots(figsize=(8, 0.6 + 0.4 * len(systems)))
    bars = axes.barh(systems, middles, xerr=ends, color=[colour(system) for system in systems], capsize=3)
    axes.bar_label(bars, [number(middle) for middle in middles], padding=6)
    axes.margins(x=0.12)
    axes.set(
        title="no-op jobs finished by one worker process",
        xlabel="jobs/s, median and range of the rounds",
    )
    return True


def latency(results: Results) -> bool:
    systems = results.systems("latency")
    if not systems:
        return False
    shown = ("p50_ms", "p95_ms", "p99_ms")
    _, axes = plt.subplots(figsize=(8, 0.8 + 0.5 * len(systems)))
    for place, value in enumerate(shown):
        middles = [results.median("latency", value, system) or 0.0 for system in systems]
        rows = [row + 0.25 * (place - 1) for row in range(len(systems))]
        bars = axes.barh(rows, middles, 0.25, alpha=1 - 0.3 * place, color=[colour(s) for s in systems])
        axes.bar_label(bars, [number(middle) for middle in middles], padding=3, fontsize=7)
    axes.set(
        title="from commit to the start of the handler",
        xlabel="ms: p50, p95 and p99 from top to bottom, each fainter",
    )
    axes.set(yticks=range(len(systems)), yticklabels=systems, xscale="log")
    axes.margins(x=0.1)
    axes.set_xlim(left=1)
    axes.invert_yaxis()
    return True


def steady(results: Results) -> bool:
    asked = [question for question in STEADY if results.systems(question)]
    if not asked:
        return False
    _, panels = plt.subplots(1, len(asked), figsize=(4.5 * len(asked), 3.2), squeeze=False)
    for axes, question in zip(panels[0], asked, strict=True):
        value, beside = STEADY[question]
        lines(axes, results, question, value)
        axes.set(title=f"{question}: {label(value)}", xlabel=beside)
        axes.margins(y=0.1)
        axes.set_ylim(bottom=0)
        if len(axes.get_lines()) > 1:
            axes.legend()
    return True


def lines(axes: Axes, results: Results, question: str, value: str) -> None:
    """Draws a point for each variant of pgqueue.

    If the names of variants are equal up to a comma, as "same, deep" and "same, deepest", a line joins their points.
    """
    series: dict[str, dict[str, float]] = {}
    for variant in (split(system)[1] for system in results.systems(question)):
        system = joined(OURS, variant)
        name, _, place = variant.rpartition(", ")
        for end in ("", "_first", "_last"):
            if (found := results.median(question, f"{value}{end}", system)) is not None:
                series.setdefault(name, {})[f"{place}{end}".strip("_")] = found
    for name, points in series.items():
        axes.plot(list(points), list(points.values()), marker="o", label=name)


def colour(system: str) -> str:
    return OUR_COLOUR if split(system)[0] == OURS else OTHERS
