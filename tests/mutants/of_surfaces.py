"""Mutants of the page, the HTTP API and what both share: who may do what, what is masked, which events are missed, what is undone."""

from __future__ import annotations

from tests.mutants.mutant import Mutant, mutant

ACCESS = "unit/test_access.py"
API = "stages/test_http_api.py"
EVENTS = "stages/test_http_events.py"
UNDOS = "stages/test_action_undos.py"
TRACE = "unit/test_outcome.py::test_a_traceback_reads_like_that_of_the_standard_library"

# fmt: off
OF_SURFACES: tuple[Mutant, ...] = (
    # ---------------------------------------------------------------- who may do what
    mutant("ui/access/guesses.py", "return left if count >= ALLOWED and left > 0 else 0.0", "return 0.0",
           f"{ACCESS}::test_an_address_is_locked_out_after_ten_wrong_tokens_and_others_are_not"),
    mutant("ui/access/guesses.py", "IPv6Address(int(parsed) >> 64 << 64)", "parsed",
           f"{ACCESS}::test_the_memory_for_guesses_is_bounded_and_one_ipv6_network_counts_as_one_address"),
    mutant("ui/access/guesses.py", "    if len(self._counts) > MOST_ADDRESSES:", "    if False:",
           f"{ACCESS}::test_the_memory_for_guesses_is_bounded_and_one_ipv6_network_counts_as_one_address"),
    mutant("ui/access/origins.py", '    return bool(name) and name == pattern.strip("[]")', "    return True",
           f"{ACCESS}::test_a_request_for_another_host_name_is_refused"),
    mutant("ui/access/origins.py", 'return b", ".join(found).decode("latin-1").strip() if found else None', 'return found[0].decode("latin-1").strip() if found else None',
           f"{ACCESS}::test_a_request_with_two_headers_authorization_is_refused"),
    mutant("ui/access/counted.py", "        if not counts[caller]:\n            del counts[caller]", "        pass", f"{ACCESS}::test_a_caller_that_has_nothing_open_is_forgotten"),
    # ---------------------------------------------------------------- what is shown
    mutant("database/statements/masking.py", "fields[position] and masked(fields[position], values)", "fields[position]", "web/test_surfaces.py"),
    mutant("database/dsn.py", ' or "#" in rest', "", "process/test_dsns.py"),
    mutant("text/described.py", " or len(texts) - len(codes) >= REPEATED", "", TRACE),
    mutant("text/described.py", "if len(texts) > DEPTH or", "if", TRACE),
    mutant("text/described.py", "if not is_plain or isinstance(error, NOT_PLAIN):", "if not is_plain:", TRACE),
    mutant("text/described.py", "if not is_plain or isinstance(error, NOT_PLAIN):", "if isinstance(error, NOT_PLAIN):", TRACE),
    mutant("text/described.py", "            _frames.clear()\n", "            pass\n", "unit/test_outcome.py::test_the_texts_of_frames_do_not_pile_up"),
    mutant("worker/secret_values.py", "text if here is None or here is attempt else here.mask(text)", "text", "unit/test_chunks.py::test_the_error_of_a_job_shows_no_secret_value_of_another_job_of_its_chunk"),
    # ---------------------------------------------------------------- which events are missed
    mutant("ui/reading/events.py", "max(min([now - LATE, *self._writers.values()]), now - LATEST)", "now - LATE",
           "process/test_cli_events.py"),
    mutant("ui/reading/events.py", "if _key(event) not in self._seen]", "]", "process/test_cli_events.py"),
    mutant("ui/reading/events.py", "return max((at for at in oldest if at.timestamp() > known_until), default=None)", "return None",
           f"{EVENTS}::test_a_stream_that_cannot_send_everything_says_so"),
    mutant("ui/api/feed.py", "                stream.is_cut = True\n", "                pass\n", f"{EVENTS}::test_a_client_that_reads_slowly_is_cut_off_and_does_not_hold_up_others"),
    # ---------------------------------------------------------------- what is undone, counted and kept
    mutant("sql/actions/functions/undo.sql", "    perform pg_advisory_xact_lock(hashtext('pgqueue.undo'), (undo.audit % 2147483647)::int);\n", "", UNDOS),
    mutant("sql/actions/functions/undo.sql", "case when job.is_free is false then 'locked'\n                     when", "case when", UNDOS),
    mutant("maintenance/leader.py", "self._settings.audit_retention, 1000", "1e9, 1000", "stages/test_drain.py::test_the_leader_keeps_the_rows_of_actions_as_long_as_its_setting_says"),
    mutant("telemetry/metrics.py", "            waited[:] = [max(wait, 0.0) for wait in waited]\n", "            pass\n",
           "unit/test_metrics.py::test_each_kind_of_fact_changes_the_series_of_its_metric"),
    mutant("worker/job_facts.py", "called = DONE if outcome is COMPLETED else _called(outcome)", "called = DONE", "process/test_metrics.py"),
    mutant("sql/errors/functions/error_origin.sql", "length(kind) > 128 or ", "", "stages/test_error_groups.py"),
    mutant("ui/web/live.py", "self._budget.spend(FRAME + made.queries, now)", "pass", "stages/test_live.py"),
)
# fmt: on
