"""How fast are durable steps and workflows, beside other systems that keep them in Postgres? And what do jobs cost that sleep or wait?

``1 at once`` and ``50 at once``: one worker process works through jobs of five steps each, whose functions return a small number, and runs
1 or 50 jobs at once. ``round_trips``: how many round trips to the server a step costs. A proxy counts them for one job of 200 steps.

``chains`` are 100 workflows of ten nodes, one after another. ``fan`` is a workflow of one node, then 1,000 nodes side by side, then one that
waits for all of these. One worker process runs up to 50 nodes at once. The clock runs from the call that stores the workflows until the
last node is finished.

Only pgqueue is measured in the following. ``signal``: the time from the commit of a signal until the handler that waits for it goes on,
beside ``pickup``, the time from the commit of a new job until its handler starts; the worker is idle otherwise. ``beside …``: the cost of a
claim of 100 jobs beside 100,000 jobs that sleep, or that wait for a signal. ``woken``: 10,000 jobs sleep until the same moment; the time from
that moment until the last of them goes on, beside ``due``, 10,000 new jobs that are due at the same moment. ``siblings``: how many jobs a
second end in four workers, if they are the members of groups of 1,000, beside ``others``, jobs that belong to no workflow. ``workflow``: the
seconds and the log of storing 10,000 nodes with 19,800 edges, beside ``plain``, as many jobs and rows.

Ratios are the medians of the ratios within each round, because all systems are measured in each round.
"""

from collections.abc import Callable

from bench.durable import asleep, nodes, siblings, signals, steps, storing, systems
from bench.report import OURS, Measurement, Report, Results, Target

TITLE = "durable work of one worker process"
SHOWN = ["steps_per_s", "client_us", "server_us"]
TABLES = {
    "steps of jobs": SHOWN,
    "round trips of a step": ["round_trips"],
    "nodes of workflows, stored and run": ["nodes_per_s", "client_us", "server_us"],
    "from commit to the code that it sets in motion": ["p50_ms", "p99_ms", "pickup_ratio"],
    "a claim of 100 jobs": ["claim_ms", "claim_buffers", "claim_ratio", "claim_buffers_ratio"],
    "10,000 jobs at one moment": ["wake_s", "wake_ratio"],
    "10,000 jobs in four workers": ["ends_per_s", "ends_share"],
    "10,000 nodes or jobs with 19,800 edges, stored": ["store_s", "log_mb", "log_ratio"],
}
HEADLINES = [
    "steps_per_s", "round_trips", "nodes_per_s", "p50_ms", "claim_ratio", "claim_buffers_ratio", "wake_ratio", "ends_share", "store_s", "log_ratio",
]  # fmt: skip
SYSTEMS = systems.NAMES
AT_ONCE = (1, systems.AT_ONCE)
RIVALS = ("dbos", "absurd")


def times(value: str, variant: str) -> Target:
    def measured(results: Results) -> float | None:
        return results.paired("durable", value, f"{OURS} {variant}", to=RIVALS)

    return Target(
        f"{value.removesuffix('_per_s')}/s, divided by those of the better of dbos and absurd: {variant}",
        measured,
        5,
    )


def at_most(text: str, value: str, variant: str, bound: float) -> Target:
    return Target(text, lambda r: r.median("durable", value, f"{OURS} {variant}"), bound, at_least=False)


TARGETS = [
    *(times("steps_per_s", f"{count} at once") for count in AT_ONCE),
    at_most("round trips of a step", "round_trips", "a step", 1.1),
    *(times("nodes_per_s", shape) for shape in nodes.SHAPES),
    at_most("p50 from a signal to the handler that goes on, divided by that of a new job", "pickup_ratio", "signal", 3),
    *(
        at_most(f"{what} of a claim beside 100,000 {name} jobs, divided by that without them", value, f"beside {name}", 1.05)
        for name in ("sleeping", "waiting")
        for what, value in {"time": "claim_ratio", "pages": "claim_buffers_ratio"}.items()
    ),
    at_most("10,000 jobs that wake at one moment, divided by 10,000 new jobs", "wake_ratio", "woken", 1.5),
    Target("siblings that end in four workers, % of jobs of no workflow", lambda r: r.median("durable", "ends_share", f"{OURS} siblings"), 50),
    at_most("10,000 nodes stored, s", "store_s", "workflow", 2),
    at_most("log of 10,000 nodes, divided by that of as many jobs and rows for the edges", "log_ratio", "workflow", 1.5),
]  # fmt: skip


def settings(asked: list[str]) -> dict[str, str]:
    return {f"{name}, durable": systems.load(name).SETTINGS for name in asked if name in SYSTEMS}


def run(server: str, asked: list[str], report: Report, rounds: int = 3, scale: float = 1.0) -> None:
    for round_ in range(rounds):
        for name in asked:
            compared(name, server, report, round_, scale)
        if OURS in asked:
            own(server, report, round_, scale)
    for title, shown in TABLES.items():
        report.table("durable", title, shown, paired=True)


def compared(name: str, server: str, report: Report, round_: int, scale: float) -> None:
    system = systems.load(name)
    for count in AT_ONCE:
        report.take("durable", f"{name} {count} at once", round_, steps.rate, server, system, count, scale)
    report.take("durable", f"{name} a step", round_, steps.trips, server, system)
    for shape, workflows in nodes.SHAPES.items():
        report.take(
            "durable", f"{name} {shape}", round_, nodes.rate, server, system, nodes.scaled(workflows, scale)
        )


def own(server: str, report: Report, round_: int, scale: float) -> None:
    """Measures what is compared only with pgqueue itself."""

    def take(what: str, measure: Callable[[], dict[str, dict[str, float]]]) -> None:
        try:
            found = measure()
        except Exception:  # noqa: BLE001 - the other parts are still measured
            report.fail(f"durable: {what}")
        else:
            for variant, values in found.items():
                report.add(Measurement("durable", f"{OURS} {variant}", round_, values))

    take("signals", lambda: signals.measure(server, scale))
    take("claims", lambda: asleep.claims(server, scale))
    take("wakes", lambda: asleep.wakes(server, scale))
    take("siblings", lambda: siblings.measure(server))
    take("storing", lambda: storing.measure(server))
