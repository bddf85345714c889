"""How fast are durable steps and workflows, beside other systems that keep them in Postgres?

``1 at once`` and ``50 at once``: one worker process works through jobs of five steps each, whose functions return a small number, and runs
1 or 50 jobs at once. ``round_trips``: how many round trips to the server a step costs. A proxy counts them for one job of 200 steps.

``chains`` are 100 workflows of ten nodes, one after another. ``fan`` is a workflow of one node, then 1,000 nodes side by side, then one that
waits for all of these. One worker process runs up to 50 nodes at once. The clock runs from the call that stores the workflows until the
last node is finished.

Ratios are the medians of the ratios within each round, because all systems are measured in each round.
"""

from bench.durable import nodes, steps, systems
from bench.report import OURS, Report, Results, Target

TITLE = "durable work of one worker process"
SHOWN = ["steps_per_s", "client_us", "server_us"]
HEADLINES = ["steps_per_s", "round_trips", "nodes_per_s"]
SYSTEMS = systems.WITH_NODES
AT_ONCE = (1, systems.AT_ONCE)


def times(value: str, variant: str) -> Target:
    def measured(results: Results) -> float | None:
        return results.paired("durable", value, f"{OURS} {variant}", to=("dbos", "absurd"))

    what = value.removesuffix("_per_s")
    return Target(f"{what}/s, divided by those of the better of dbos and absurd: {variant}", measured, 5)


TARGETS = [
    *(times("steps_per_s", f"{count} at once") for count in AT_ONCE),
    Target("round trips of a step", lambda r: r.median("durable", "round_trips", f"{OURS} a step"), 1.1, at_least=False),
    *(times("nodes_per_s", shape) for shape in nodes.SHAPES),
]  # fmt: skip


def settings(asked: list[str]) -> dict[str, str]:
    return {f"{name}, durable": systems.load(name).SETTINGS for name in asked if name in SYSTEMS}


def run(server: str, asked: list[str], report: Report, rounds: int = 3, scale: float = 1.0) -> None:
    for round_ in range(rounds):
        for name in asked:
            system = systems.load(name)
            if name in systems.WITH_STEPS:
                for count in AT_ONCE:
                    report.take(
                        "durable", f"{name} {count} at once", round_, steps.rate, server, system, count, scale
                    )
                report.take("durable", f"{name} a step", round_, steps.trips, server, system)
            for shape, workflows in nodes.SHAPES.items():
                report.take("durable", f"{name} {shape}", round_, nodes.rate, server, system, workflows)
    report.table("durable", TITLE, SHOWN, paired=True)
    report.table("durable", "round trips of a step", ["round_trips"], paired=True)
    report.table(
        "durable",
        "nodes of workflows, stored and run",
        ["nodes_per_s", "client_us", "server_us"],
        paired=True,
    )
