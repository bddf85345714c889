"""The Grafana board and the alert rules in docs/monitoring/ use only metrics and labels that are declared."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from pgqueue.telemetry.instruments import INSTRUMENTS
from pgqueue.telemetry.metrics import STATES
from pgqueue.worker.job_facts import OUTCOMES

FOLDER = Path(__file__).parents[2] / "docs/monitoring"
BOARD = json.loads((FOLDER / "grafana.json").read_text(encoding="utf-8"))
RULES = [
    rule
    for group in yaml.safe_load((FOLDER / "alerts.yml").read_text(encoding="utf-8"))["groups"]
    for rule in group["rules"]
]

SERIES = {series: set(one.exposed_labels) for one in INSTRUMENTS.values() for series in one.series_names}
EVERY_LABEL = {"le"} | {label for labels in SERIES.values() for label in labels}
# A name of a metric, and what the braces after it select.
SELECTED = re.compile(r"\b((?:pgqueue|messaging)_\w+)(?:\{([^}]*)\})?")
BY = re.compile(r"\b(?:by|without|on|ignoring) \(([^)]*)\)")
SELECTOR = re.compile(r'(\w+)\s*(?:=~|!=|!~|=)\s*"([^"]*)"')
VALUES = {"state": set(STATES), "outcome": set(OUTCOMES.values())}


def panels() -> list[dict[str, Any]]:
    return [panel for panel in BOARD["panels"] if panel["type"] != "row"]


def expressions() -> Iterator[tuple[str, str]]:
    """Yields the title and the expression of each query of the board, and of each alert rule."""
    for panel in panels():
        for target in panel["targets"]:
            yield panel["title"], target["expr"]
    for rule in RULES:
        yield rule["alert"], rule["expr"]


@pytest.mark.parametrize(("title", "expression"), list(expressions()))
def test_an_expression_uses_only_declared_metrics_labels_and_values(title, expression):
    grouped = [
        label.strip() for labels in BY.findall(expression) for label in labels.split(",") if label.strip()
    ]
    assert set(grouped) <= EVERY_LABEL
    names = [match for match in SELECTED.finditer(expression) if match[1] not in EVERY_LABEL]
    assert names, title
    for match in names:
        assert match[1] in SERIES, match[1]
        for label, value in SELECTOR.findall(match[2] or ""):
            assert label in SERIES[match[1]], (match[1], label)
            if value in ("$queue", ""):
                continue
            assert value in VALUES.get(label, {value}), (label, value)
    assert expression.count("(") == expression.count(")")


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule["alert"])
def test_an_alert_says_what_happened_and_what_to_do_with_labels_that_its_expression_keeps(rule):
    assert rule["labels"]["severity"] in ("info", "warning", "critical")
    assert set(rule["annotations"]) == {"summary", "do"}
    shown = set(re.findall(r"\$labels\.(\w+)", " ".join(rule["annotations"].values())))
    kept = {label.strip() for labels in BY.findall(rule["expr"]) for label in labels.split(",")}
    assert shown <= kept


def test_the_rules_cover_what_can_go_wrong():
    used = " ".join(rule["expr"] for rule in RULES)
    for metric in (
        "pgqueue_queue_latency_seconds", 'pgqueue_job_count{state="dead"}', 'outcome="dead"', "pgqueue_worker_count",
        "pgqueue_queue_drain_time_seconds", "pgqueue_lease_losses_total", "pgqueue_cron_lag_seconds",
    ):  # fmt: skip
        assert metric in used


def test_the_board_shows_every_metric_and_its_panels_do_not_overlap():
    used = " ".join(target["expr"] for panel in panels() for target in panel["targets"])
    unseen = [
        name for name, one in INSTRUMENTS.items() if not any(series in used for series in one.series_names)
    ]
    assert unseen == []
    places = [
        (x, y)
        for panel in BOARD["panels"]
        for x in range(panel["gridPos"]["x"], panel["gridPos"]["x"] + panel["gridPos"]["w"])
        for y in range(panel["gridPos"]["y"], panel["gridPos"]["y"] + panel["gridPos"]["h"])
    ]
    assert len(places) == len(set(places))
    assert max(x for x, _ in places) < 24
    ids = [panel["id"] for panel in BOARD["panels"]]
    assert len(ids) == len(set(ids))


def test_promtool_accepts_the_rules_and_every_expression_of_the_board(tmp_path):
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("promtool is not installed; Debian's package prometheus has it")
    of_the_board = [
        {
            "record": f"panel:{number}",
            "expr": expression.replace("$__rate_interval", "5m").replace("$queue", ".*"),
        }
        for number, (_, expression) in enumerate(expressions())
    ]
    board = tmp_path / "board.yml"
    board.write_text(yaml.safe_dump({"groups": [{"name": "board", "rules": of_the_board}]}))
    for path in (FOLDER / "alerts.yml", board):
        done = subprocess.run([promtool, "check", "rules", path], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
