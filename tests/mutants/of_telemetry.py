"""Mutants of spans and metrics."""

from __future__ import annotations

from tests.mutants.mutant import Mutant, mutant

STORY = (
    "process/test_traces.py::test_one_story_leads_from_the_order_over_a_failed_attempt_to_the_second_attempt"
)

# fmt: off
OF_TELEMETRY: tuple[Mutant, ...] = (
    mutant("telemetry/measures.py", "            if len(known) >= MOST:", "            if False:",
           "unit/test_metrics.py::test_ten_thousand_names_of_queues_make_no_more_series_than_the_limit_and_lose_no_count"),
    mutant("telemetry/measures.py", "visible(value[:LONGEST])", "value", "unit/test_metrics.py::test_a_hostile_name_cannot_break_the_text_or_add_a_series"),
    mutant("telemetry/measures.py", "            before = until\n", "            pass\n",
           "unit/test_metrics.py::test_many_values_fall_into_the_same_buckets_as_single_values"),
    mutant("telemetry/tracing.py", '        if how == "link":', "        if False:",
           "process/test_traces.py::test_a_setting_chooses_whether_attempts_are_linked_to_the_creation_or_its_children"),
    mutant("telemetry/tracing.py", "    if owner != str(job_id):", "    if True:", STORY),
    mutant("worker/running/call.py", "not issubclass(type(cause), NO_FAILURES)", "True",
           "process/test_traces.py::test_only_failures_have_the_status_error_and_each_error_is_recorded_once"),
    mutant("sql/settling/settle.sql", "jsonb_build_object('pgqueue-attempt', o.span)", "'{}'", STORY),
    mutant("worker/processes/metrics_sender.py", "                RECORDER.merge(rows)", "                pass",
           "unit/test_metrics.py::test_numbers_for_which_the_line_has_no_room_are_sent_later"),
)
# fmt: on
