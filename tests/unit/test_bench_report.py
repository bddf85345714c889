"""Tests of the functions that compute the published figures: medians, comparisons of systems, targets, and the table of README.md."""

import json
import math
from types import SimpleNamespace

import pytest

from bench.limit import for_pgbench
from bench.publish import page, rewrite
from bench.report import Measurement, Results, Target, label, number, percentiles

# Jobs per second of each system, in each round. A variant of a measurement follows the name of the system, after a space.
RATES = {
    "pgqueue": [100, 300, 200],
    "other": [50, 60, 40],
    "best": [80],
    "pgqueue x2": [500],
    "other x2": [1000],
    "pgqueue alone": [7],
}


@pytest.fixture
def results():
    measured = [
        Measurement("drain", system, round_, {"jobs_per_s": rate})
        for system, rates in RATES.items()
        for round_, rate in enumerate(rates)
    ]
    return Results([*measured, Measurement("latency", "pgqueue", 0, {"p50_ms": 2.0}),
                    Measurement("latency", "other", 0, {"p50_ms": 4.0}),
                    Measurement("latency", "best", 0, {"p50_ms": 1.0})],
                   [{"date": "today", "machine": "two cores"}])  # fmt: skip


def test_a_median_is_the_median_of_the_rounds_of_one_system(results):
    assert results.median("drain", "jobs_per_s") == 200
    assert results.median("drain", "jobs_per_s", "other") == 50
    assert results.median("drain", "absent") is None
    assert results.median("absent", "jobs_per_s") is None


def test_a_system_is_compared_only_with_systems_in_the_same_variant(results):
    assert results.peers("drain", "jobs_per_s") == {"other": 50, "best": 80}
    assert results.ratio("drain", "jobs_per_s") == 200 / 80
    assert results.ratio("drain", "jobs_per_s", "pgqueue x2") == 0.5


def test_the_best_other_system_has_the_smallest_value_if_less_is_better(results):
    assert results.best_peer("latency", "p50_ms") == ("best", 1.0)
    assert results.ratio("latency", "p50_ms") == 2.0


def test_a_paired_ratio_is_the_median_of_the_ratios_within_each_round(results):
    rates = {"pgqueue": [100, 10, 30], "other": [50, 1, 10], "best": [100, 2], "pgqueue x2": [5]}
    measured = [
        Measurement("steps", system, round_, {"steps_per_s": rate})
        for system, found in rates.items()
        for round_, rate in enumerate(found)
    ]
    paired = Results(measured).paired
    assert paired("steps", "steps_per_s") == 3  # of 1, 5 and 3
    assert paired("steps", "steps_per_s", to=["other"]) == 3  # of 2, 10 and 3
    assert paired("steps", "steps_per_s", "other", to=["pgqueue"]) == pytest.approx(1 / 3)
    assert paired("steps", "steps_per_s", "pgqueue x2") is None
    assert paired("steps", "absent") is None


def test_a_target_is_met_missed_or_not_measured(results):
    def rate(found):
        return found.median("drain", "jobs_per_s")

    assert Target("", rate, 200).met(results) is True
    assert Target("", rate, 201).met(results) is False
    assert Target("", rate, 200, at_least=False).met(results) is True
    assert Target("", rate, 199, at_least=False).met(results) is False
    assert Target("", rate, 1).met(Results()) is None


def test_results_are_the_same_after_they_are_written_to_a_file_and_read_again(results, tmp_path):
    file = tmp_path / "run.jsonl"
    lines = [{"environment": results.environments[0]}, *(vars(m) for m in results.measured)]
    file.write_text("\n".join(json.dumps(line) for line in lines))
    assert Results.read([file]) == results


def test_the_readme_is_changed_only_between_the_markers(results, tmp_path):
    questions = {"drain": SimpleNamespace(TITLE="drain", SHOWN=["jobs_per_s"]),
                 "enqueue": SimpleNamespace(TITLE="enqueue", SHOWN=["jobs_per_s"])}  # fmt: skip
    readme = tmp_path / "README.md"
    (tmp_path / "docs").mkdir()
    readme.write_text("before\n<!-- bench -->\nold\n<!-- /bench -->\nafter\n")
    rewrite(readme, results, questions, [tmp_path / "docs" / "plot.png"])
    text = readme.read_text()
    assert text.startswith("before\n<!-- bench -->\n| measure |")
    assert text.endswith("![plot](docs/plot.png)\n<!-- /bench -->\nafter\n")
    assert "old" not in text
    assert "| drain: jobs/s | 200 | 100 to 300 | other 50.0, best 80.0 | 2.50 |" in text
    assert "| drain (x2): jobs/s | 500 |  | other 1,000 | 0.50 |" in text
    assert "enqueue" not in text  # enqueue was not measured
    assert "alone" not in text  # no other system was measured in this variant
    whole = (tmp_path / "docs" / "benchmarks.md").read_text()
    assert "| drain: jobs/s | 200 | 100 to 300 | other 50.0, best 80.0 | 2.50 |" in whole
    assert "| drain (alone): jobs/s | 7.00 |  |  |  |" in whole
    assert "- machine: two cores" in whole
    rewrite(readme, results, questions, [tmp_path / "docs" / "plot.png"])
    assert readme.read_text() == text


def test_a_readme_without_markers_is_refused(results, tmp_path):
    readme = tmp_path / "README.md"
    readme.write_text("no table here")
    with pytest.raises(ValueError, match="no <!-- bench -->"):
        rewrite(readme, results, {})
    assert readme.read_text() == "no table here"


def test_equal_environments_are_listed_once(results):
    results.environments.append({"date": "tomorrow", "machine": "two cores"})
    text = page(results, {})
    assert "- date: today and tomorrow" in text
    assert text.count("two cores") == 1


@pytest.mark.parametrize(
    ("value", "shown"),
    [("jobs_per_s", "jobs/s"), ("claim_p50_ms", "claim p50, ms"), ("copy_share", "copy share, %"),
     ("rss_growth", "rss growth"), ("work_commits_per_1000", "work commits per 1000")],
)  # fmt: skip
def test_labels_show_units(value, shown):
    assert label(value) == shown


@pytest.mark.parametrize(
    ("value", "shown"),
    [(None, "-"), (math.nan, "-"), (0.004, "0.00"), (9.876, "9.88"), (12.34, "12.3"), (12345.6, "12,346")],
)
def test_numbers_show_three_digits(value, shown):
    assert number(value) == shown


def test_percentiles_are_in_milliseconds():
    found = percentiles([n / 1000 for n in range(1, 102)])
    assert found == pytest.approx({"p50_ms": 51, "p95_ms": 96, "p99_ms": 100, "max_ms": 101})


def test_parameters_become_variables_of_pgbench():
    assert for_pgbench("select %(ids)s::bigint[], 7 %% 2") == "select :ids::bigint[], 7 % 2"
