"""The catalogue of mutants. A mutant is a small fault, with tests of which at least one must fail. Every bug that is fixed adds a mutant."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Mutant:
    """A fault in ``file``. Each of ``edits`` is a pair of texts (old, new): the file contains the old text exactly once, and gets the new
    text.

    After these edits, at least one of ``tests`` must fail.
    """

    file: str
    edits: tuple[tuple[str, str], ...]
    tests: tuple[str, ...]

    @property
    def name(self) -> str:
        (gone, come), *_ = [[" ".join(text.split()) for text in edit] for edit in self.edits]
        return f"{self.file}: {gone[:70]} -> {come[:70] or 'nothing'}"

    @property
    def changes_schema(self) -> bool:
        """Returns whether an edit changes the schema. If so, the databases of the tests must be made by the edited project."""
        return "/functions/" in self.file or "/views/" in self.file or "migrat" in self.file

    def fits(self, root: Path) -> bool:
        path = root / self.file
        text = path.read_text(encoding="utf-8") if path.is_file() else ""
        return all(text.count(old) == 1 for old, _ in self.edits)

    def apply(self, root: Path) -> None:
        path = root / self.file
        text = path.read_text(encoding="utf-8")
        for old, new in self.edits:
            text = text.replace(old, new)
        path.write_text(text, encoding="utf-8")


def mutant(file: str, old: str, new: str, *tests: str) -> Mutant:
    return Mutant(f"pgqueue/{file}", ((old, new),), tuple(f"tests/{test}" for test in tests))


FENCES = "stages/test_fences.py"
CLAIMS = "stages/test_what_is_claimed.py"
UPKEEP = "stages/test_what_is_kept.py"
PARTS = "stages/test_small_parts.py"
RUNNER = "races/test_runner_races.py"
THREADS = "unit/test_threads.py"
LEASES = "stages/test_leases.py"

# fmt: off
MUTANTS = (
    # ---------------------------------------------------------------- claims
    mutant("worker/claiming/claimer.py", " or (self._settings.drain and not self._in_flight)", "",
           "stages/test_drain.py::test_a_worker_with_drain_does_not_wait_for_its_next_poll_after_the_last_job"),
    mutant("database/pools.py", "            self._abandon()\n        mine", "            pass\n        mine",
           "stages/test_waiting.py::test_the_pool_of_an_event_loop_is_closed_after_the_loop_is_closed"),
    mutant("worker/running/conclusions.py", "server_time.now()", "__import__('time').time()",
           "stages/test_drain.py::test_the_age_of_a_job_does_not_depend_on_the_clock_of_the_host"),
    mutant("sql/claiming/claim.sql", "          and not l.cancel_requested\n", "", f"{CLAIMS}::test_no_claim_takes_a_job_that_is_overdue_asked_to_stop_or_of_an_unknown_task"),
    mutant("sql/claiming/claim.sql", "(l.expires_at is null or l.expires_at > now())", "true", f"{CLAIMS}::test_no_claim_takes_a_job_that_is_overdue_asked_to_stop_or_of_an_unknown_task"),
    mutant("sql/claiming/claim.sql", "(l.deadline_at is null or l.deadline_at > now())", "true", f"{CLAIMS}::test_no_claim_takes_a_job_that_is_overdue_asked_to_stop_or_of_an_unknown_task"),
    mutant("sql/claiming/claim.sql", "          and l.task = any(%(tasks)s::text[])\n", "", f"{CLAIMS}::test_no_claim_takes_a_job_that_is_overdue_asked_to_stop_or_of_an_unknown_task"),
    mutant("sql/claiming/claim.sql", "l.run_at <= now()", "l.run_at <= now() + interval '1 s'", f"{CLAIMS}::test_no_claim_takes_a_job_before_it_is_due"),
    mutant("sql/claiming/claim.sql", " and w.expires_at > clock_timestamp()", "", f"{CLAIMS}::test_a_worker_without_a_lease_claims_nothing"),
    mutant("sql/claiming/claim.sql", "q.name = lane.queue and q.paused", "false", f"{CLAIMS}::test_no_claim_takes_a_job_of_a_paused_queue"),
    mutant("sql/claiming/fragments/may_start.sql", " and not j.cancel_requested and (least(j.expires_at, j.deadline_at) > moment) is not false", "",
           f"{CLAIMS}::test_no_claim_takes_a_job_that_is_overdue_asked_to_stop_or_of_an_unknown_task"),
    mutant("sql/claiming/fragments/may_start.sql", "not j.cancel_requested and (least(j.expires_at", "(least(j.expires_at",
           f"{CLAIMS}::test_no_claim_takes_a_job_that_is_overdue_asked_to_stop_or_of_an_unknown_task"),
    mutant("sql/claiming/fragments/may_start.sql", "j.run_at <= moment and ", "",
           f"{CLAIMS}::test_no_claim_takes_a_job_before_it_is_due"),
    mutant("sql/claiming/functions/claim_limited.sql", "              and j.task = any(tasks)\n", "",
           f"{CLAIMS}::test_no_claim_takes_a_job_that_is_overdue_asked_to_stop_or_of_an_unknown_task"),
    mutant("sql/claiming/functions/claim_limited.sql", " and w.expires_at > moment)", ")", f"{CLAIMS}::test_a_worker_without_a_lease_claims_nothing"),
    mutant("sql/claiming/functions/claim_limited.sql", "q.name = claim_limited.queue and q.paused", "false", f"{CLAIMS}::test_no_claim_takes_a_job_of_a_paused_queue"),
    # ---------------------------------------------------------------- fences
    mutant("sql/settling/complete.sql", "      and j.lease_id operator(pg_catalog.=) (%(lease_ids)s::bigint[])[pg_catalog.width_bucket(j.id, %(ids)s::bigint[])]\n", "",
           f"{FENCES}::test_a_former_attempt_writes_nothing", f"{FENCES}::test_the_outcome_of_a_former_attempt_gives_back_no_seat_of_the_next_attempt"),
    mutant("sql/settling/complete.sql", "(j.worker_id operator(pg_catalog.=) %(worker_id)s::bigint) is true and ", "", f"{FENCES}::test_an_attempt_writes_nothing_if_another_worker_has_the_job_under_the_same_lease_id"),
    mutant("sql/settling/lock_running_job.sql", " and j.lease_id operator(pg_catalog.=) %(lease_id)s::bigint", "", f"{FENCES}::test_a_former_attempt_writes_nothing"),
    mutant("sql/settling/lock_running_job.sql", "(j.worker_id operator(pg_catalog.=) %(worker_id)s::bigint) is true and ", "", f"{FENCES}::test_an_attempt_writes_nothing_if_another_worker_has_the_job_under_the_same_lease_id"),
    mutant("sql/settling/settle.sql", "j.lease_id = o.lease_id and j.worker_id is not distinct from %(worker_id)s::bigint\n      and j.state = 'running' and (o.state",
           "j.worker_id is not distinct from %(worker_id)s::bigint\n      and j.state = 'running' and (o.state", f"{FENCES}::test_a_former_attempt_writes_nothing"),
    mutant("sql/settling/settle.sql", "j.lease_id = o.lease_id and j.worker_id is not distinct from %(worker_id)s::bigint\n      and j.state = 'running' and o.state in",
           "j.worker_id is not distinct from %(worker_id)s::bigint\n      and j.state = 'running' and o.state in", f"{FENCES}::test_a_former_attempt_writes_nothing"),
    mutant("sql/settling/settle.sql", "    where h.seats_taken is not null\n      and (h.id = any(array(select f.id from finished f)) or h.id = any(array(select b.id from back b)))\n",
           "    where h.seats_taken is not null\n", f"{FENCES}::test_the_outcome_of_a_former_attempt_gives_back_no_seat_of_the_next_attempt"),
    mutant("sql/settling/write_progress.sql", " and j.lease_id = r.lease_id", "", f"{FENCES}::test_progress_of_a_former_attempt_is_not_written"),
    mutant("sql/leases/heartbeat.sql", " and w.expires_at > clock_timestamp()", "", f"{FENCES}::test_a_lease_that_is_over_is_not_renewed"),
    mutant("sql/leases/heartbeat.sql", "w.state in ('running', 'draining') and ", "", f"{FENCES}::test_a_lease_that_is_over_is_not_renewed"),
    # ---------------------------------------------------------------- seats and limits
    mutant("sql/limits/functions/give_back_seats.sql", "    perform pgqueue.wake(q.queue) from (select distinct w.queue from unnest(queues) w(queue)) q;\n", "",
           f"{FENCES}::test_a_freed_seat_wakes_a_worker"),
    mutant("sql/limits/functions/give_back_seats.sql", "s.taken - g.weight", "s.taken - 1", "stages/test_limits.py"),
    # ---------------------------------------------------------------- keys
    mutant("sql/enqueuing/functions/insert_jobs.sql", '                order by w.task collate "C", w.unique_key collate "C", w.item\n                on conflict',
           "                on conflict", "races/test_key_races.py::test_batches_that_take_their_keys_at_the_same_time_do_not_deadlock"),
    mutant("sql/enqueuing/functions/insert_jobs.sql", """partition by i.task collate "C", i.unique_key collate "C" order by i.item) as n""",
           """partition by i.task collate "C", i.unique_key collate "C" order by i.item desc) as n""", "stages/test_keys.py", "races/test_key_races.py"),
    Mutant("pgqueue/sql/enqueuing/functions/take_idempotency_keys.sql", (
        ('        order by n.task collate "C", n.key collate "C", n.place\n', "        order by n.place\n"),
        ('    order by o.task collate "C", o.key collate "C"\n    on conflict', "    on conflict"),
    ), ("tests/races/test_key_races.py::test_batches_that_take_their_keys_at_the_same_time_do_not_deadlock",)),
    mutant("sql/enqueuing/functions/take_idempotency_keys.sql", "coalesce(i.idempotency_ttl, 604800)", "coalesce(i.idempotency_ttl, 86400)",
           f"{UPKEEP}::test_an_idempotency_key_is_kept_for_a_week_unless_idempotency_ttl_is_given"),
    mutant("sql/enqueuing/functions/unique_key.sql", "from pg_catalog.jsonb_array_elements_text(by) n (name))", "from pg_catalog.jsonb_array_elements_text(by) n (name) where args ? n.name)",
           f"{UPKEEP}::test_a_unique_key_is_the_same_whether_an_argument_is_null_or_missing", "stages/test_keys.py::test_an_argument_that_is_not_passed_counts_as_null"),
    mutant("app/copy_lines.py", '_small(options.get("weight"))', "NULL", "stages/test_bulk.py::test_every_way_stores_the_same_row"),
    mutant("app/copy_lines.py", "len(tags), 1)", "len(tags), 2)", "stages/test_bulk.py::test_every_way_stores_the_same_row"),
    mutant("app/copy_lines.py", "_moment(_run_at(options, moment))", "_moment(moment)", "stages/test_bulk.py::test_run_at_is_the_same_moment_in_every_way"),
    mutant("app/copy_lines.py", "round(timeout * 1_000_000)", "int(timeout) * 1_000_000", "stages/test_bulk.py::test_every_way_stores_the_same_row"),
    mutant("sql/enqueuing/fragments/option_values.sql", ", %(weight)s::smallint", ", null", "stages/test_bulk.py::test_every_way_stores_the_same_row"),
    mutant("worker/running/conclusions.py", "is_reserved(attempt.task) and not", "False and not", "stages/test_reserved.py::test_a_job_with_a_reserved_name_that_was_inserted_without_checks_becomes_dead_without_running"),
    mutant("sql/enqueuing/functions/is_reserved.sql", " or pg_catalog.strpos(task, ':on_') operator(pg_catalog.>) 0", "", "stages/test_reserved.py::test_sql_refuses_a_job_or_a_schedule_whose_task_has_a_reserved_name"),
    mutant("app/copy_lines.py", 'options.get("ordering")', "None", "stages/test_bulk.py::test_every_way_stores_the_same_row"),
    mutant("sql/enqueuing/functions/wake.sql", "::bigint + 10)", "::bigint + 10000)", "stages/test_wake.py::test_a_wake_up_suppresses_later_wake_ups_only_until_the_woken_worker_claims_again"),
    # ---------------------------------------------------------------- retention
    mutant("sql/upkeep/functions/purge_jobs.sql", "where i.inhparent in ('pgqueue.jobs_done'::regclass, 'pgqueue.transitions'::regclass)",
           "where i.inhparent in ('pgqueue.jobs'::regclass, 'pgqueue.jobs_done'::regclass, 'pgqueue.transitions'::regclass)",
           f"{UPKEEP}::test_dead_jobs_are_kept_when_completed_jobs_of_the_same_age_are_deleted"),
    mutant("sql/upkeep/purge.sql", "          and not exists (select from pgqueue.jobs_live j where j.worker_id = o.id)\n", "",
           f"{UPKEEP}::test_the_row_of_a_worker_stays_as_long_as_a_job_refers_to_it"),
    mutant("sql/upkeep/purge.sql", "o.state in ('stopped', 'expired')", "o.state = 'stopped'", f"{UPKEEP}::test_the_row_of_a_worker_stays_as_long_as_a_job_refers_to_it"),
    mutant("sql/schedules/purge_runs.sql", "          and exists (select from pgqueue.schedule_runs n where n.schedule_id = o.schedule_id and n.fire_at > o.fire_at)\n", "",
           f"{UPKEEP}::test_the_last_run_of_a_schedule_and_runs_with_unfinished_jobs_are_kept"),
    mutant("sql/schedules/purge_runs.sql", "          and not exists (select from pgqueue.jobs_live j where j.id = o.job_id)\n", "",
           f"{UPKEEP}::test_the_last_run_of_a_schedule_and_runs_with_unfinished_jobs_are_kept"),
    mutant("sql/leases/adopt_orphans.sql", "j.worker_id is not null and not exists", "j.worker_id is null and not exists",
           f"{UPKEEP}::test_jobs_of_a_worker_whose_row_is_gone_are_rescued"),
    mutant("sql/leases/adopt_orphans.sql", "'expired',\n       clock_timestamp() - interval '1 second'", "'expired',\n       clock_timestamp() + interval '1 hour'",
           f"{UPKEEP}::test_jobs_of_a_worker_whose_row_is_gone_are_rescued"),
    mutant("sql/claiming/functions/unclaimed_queues.sql", "where --+ claim_idx j\n", "where false\n",
           f"{UPKEEP}::test_the_leader_adds_a_queue_with_jobs_to_the_table_of_queues_even_if_no_worker_serves_it"),
    mutant("sql/claiming/functions/unclaimed_queues.sql", "where --+ key_idx j\n", "where false\n",
           f"{UPKEEP}::test_the_leader_adds_a_queue_with_jobs_to_the_table_of_queues_even_if_no_worker_serves_it"),
    mutant("sql/leases/elect.sql", "        where l.worker_id = excluded.worker_id or l.expires_at < clock_timestamp()\n", "",
           f"{UPKEEP}::test_one_of_two_workers_leads_if_both_ask_at_the_same_time"),
    mutant("sql/leases/elect.sql", "    where not exists (select from now_leading n where n.worker_id <> %(worker_id)s::bigint and n.expires_at >= clock_timestamp())\n", "    where true\n",
           f"{UPKEEP}::test_a_worker_that_asks_to_lead_does_not_wait_for_the_lock_of_the_leader"),
    mutant("sql/upkeep/functions/expired_before.sql", "set timezone = 'UTC'\n", "", f"{UPKEEP}::test_day_tables_contain_days_of_utc_whatever_the_time_zone_of_the_session_is"),
    mutant("sql/upkeep/functions/add_partitions.sql", "set timezone = 'UTC'\n", "", f"{UPKEEP}::test_day_tables_contain_days_of_utc_whatever_the_time_zone_of_the_session_is"),
    # ---------------------------------------------------------------- the small parts of a worker
    mutant("worker/settler.py", "self._outcomes[:OUTCOMES_AT_ONCE], self._outcomes[OUTCOMES_AT_ONCE:]", "self._outcomes[:OUTCOMES_AT_ONCE], []",
           f"{PARTS}::test_more_outcomes_than_one_statement_takes_are_all_written"),
    mutant("worker/settler.py", "                    part.sort(key=_job_id)\n", "", f"{PARTS}::test_outcomes_are_written_in_whatever_order_they_arrive"),
    mutant("worker/settler.py", "await self._write([(attempt, refused)], self._settle)", "pass",
           f"{PARTS}::test_the_other_outcomes_are_written_if_the_database_refuses_one_outcome"),
    mutant("database/sifting.py", "for part in (items[:middle], items[middle:]):", "for part in (items[:middle],):", "unit/test_sifting.py::test_the_items_that_do_not_fail_are_done_once_and_in_order"),
    mutant("worker/claiming/singly.py", "if asked := count - len(choices):", "if asked := count:",
           "stages/test_sifting.py::test_a_claim_that_leaves_out_a_row_still_takes_no_more_jobs_than_there_is_room_for"),
    mutant("database/sifting.py", "if found or is_of_a_value(known)]", "]", "unit/test_sifting.py::test_items_that_were_never_tried_do_not_count_as_successes"),
    mutant("database/sifting.py", "(leave if may_pass(error) else give_up)", "give_up", "unit/test_sifting.py::test_an_item_with_a_temporary_error_is_left_for_later_and_not_given_up"),
    mutant("worker/claiming/singly.py", "if failure.statement in self.succeeded else []", "",
           "stages/test_failing_triggers.py::test_jobs_stay_pending_and_delay_no_other_jobs_if_every_claim_under_limits_fails"),
    mutant("database/sifting.py", "if is_lost(error) or not items:", "if not items:", "unit/test_sifting.py::test_the_items_are_not_tried_in_parts_if_the_server_was_lost"),
    mutant("database/sifting.py", "if probes and len(failed) == PROBES", "if False and probes", "unit/test_sifting.py::test_an_error_that_every_item_has_is_recognised_after_a_few_tries"),
    mutant("database/outage.py", 'if error.diag.severity_nonlocalized == "ERROR":', "if False:", "stages/test_failing_triggers.py::test_the_other_jobs_are_settled_whatever_a_trigger_raises_for_one_job"),
    mutant("runtime/services.py", "    asyncio._unregister_task(task)", "    #", "stages/test_own_loop.py::test_a_worker_goes_on_and_still_stops_on_sigterm_whatever_a_handler_did_to_the_loop"),
    mutant("model/outcome.py", "max(asked, SHORTEST)", "asked", "unit/test_outcome.py::test_the_error_of_an_attempt_decides_its_outcome"),
    mutant("worker/claiming/in_flight.py", "                former.end(Ending.LOST)\n", "", f"{PARTS}::test_an_attempt_is_lost_when_the_same_job_is_claimed_again"),
    mutant("worker/claiming/in_flight.py", "                self.remove([former])\n", "", f"{PARTS}::test_an_attempt_is_lost_when_the_same_job_is_claimed_again"),
    mutant("worker/claiming/in_flight.py", "if self.attempts.get(attempt.id) is attempt:", "if attempt.id in self.attempts:",
           f"{PARTS}::test_an_attempt_is_lost_when_the_same_job_is_claimed_again"),
    mutant("worker/attempt_lease.py", "outcome = attempt.with_progress(Outcome.completed(spec.encode_result(self._results[-1]), spec.keep))",
           "outcome = Outcome.completed(spec.encode_result(self._results[-1]), spec.keep)", f"{PARTS}::test_job_transaction_writes_the_last_progress_of_the_job"),
    mutant("worker/running/progress_writer.py", "if attempt.progress is progress and attempt.id in written:", "if attempt.id in written:",
           f"{PARTS}::test_progress_is_not_lost_if_it_is_reported_while_the_former_progress_is_written"),
    # ---------------------------------------------------------------- leases, worker ids, silent connections
    mutant("database/outage.py", '    return state is None or state.startswith("08") or state in LOST\n', "    return True\n",
           "unit/test_outage.py::test_other_errors_do_not_count_as_a_lost_server"),
    mutant("database/outage.py", "        if now - self._said.get(kind, -REMIND_EVERY) >= REMIND_EVERY:\n", "        if True:\n",
           "unit/test_outage.py::test_an_error_of_the_server_is_logged_once_and_the_pause_grows_with_each_try"),
    mutant("database/silence.py", "        same.shutdown(socket.SHUT_RDWR)\n", "        pass\n", f"{LEASES}::test_a_heartbeat_whose_connection_is_silent_keeps_the_lease_by_a_new_connection"),
    mutant("worker/heartbeat.py", "_Life(worker_id, asked + self._lease)", "_Life(worker_id, monotonic() + self._lease)",
           f"{LEASES}::test_a_lease_begins_when_it_is_requested_and_not_when_the_answer_arrives"),
    mutant("worker/attempt.py", "        return NothingToSettle.LEASE_LOST if self.ending is Ending.LOST else None\n", "        return None\n",
           f"{LEASES}::test_the_result_of_a_lost_attempt_is_not_settled"),
    mutant("worker/claiming/in_flight.py", "                self._lose([former])\n", "", f"{PARTS}::test_an_attempt_is_lost_when_the_same_job_is_claimed_again"),
    mutant("worker/settler.py", "        return [item for item in batch if item[0].id not in ids]\n", "        return []\n",
           f"{LEASES}::test_an_uncommitted_change_of_a_running_job_delays_only_the_outcome_of_this_job"),
    mutant("sql/claiming/fragments/starting.sql", "greatest(j.lease_id + 1, (date_part('epoch', clock_timestamp()) * 1000000)::bigint)", "j.lease_id + 1",
           f"{LEASES}::test_the_next_lease_id_is_larger_even_if_a_crash_has_undone_the_last_claim"),
    mutant("sql/leases/find_lost_attempts.sql", "l.lease_id <> held.lease_id or ", "", f"{LEASES}::test_attempts_whose_claims_a_crash_of_the_server_has_undone_are_found"),
    mutant("sql/claiming/find_lost_claims.sql", " and j.id <> all(%(known)s::bigint[])", "",
           f"{LEASES}::test_only_jobs_that_the_worker_does_not_know_are_found_as_jobs_of_lost_claims"),
    mutant("sql/settling/find_committed.sql", "j.lease_id <> h.lease_id or ", "",
           "stages/test_lost_answers.py::test_a_commit_without_an_answer_is_not_logged_as_made_if_the_job_was_released"),
    mutant("sql/settling/find_committed.sql", " or j.state <> 'completed'", "",
           "stages/test_lost_answers.py::test_a_commit_without_an_answer_is_not_logged_as_made_if_the_job_was_released"),
    # ---------------------------------------------------------------- faults of every kind
    mutant("database/joining.py", "        and connection.info.pipeline_status is PipelineStatus.OFF\n", "", "stages/test_any_connection.py::test_enqueuing_works_in_a_pipeline"),
    mutant("database/joining.py", "        return connection._tpc is not None", "        return False",
           "stages/test_two_phase_commits.py::test_jobs_of_a_two_phase_transaction_of_psycopg_are_stored_without_a_wake_up"),
    mutant("database/pools.py", "self._size = max(self._size, 2 * handlers)", "pass", "stages/test_waiting.py::test_the_pool_of_a_worker_has_two_connections_for_each_slot_unless_the_app_sets_pool_size"),
    mutant("model/names.py", """.startswith("pgqueue.") or ":on_" in task""", """.startswith("pgqueue.")""", "stages/test_reserved.py::test_python_refuses_a_task_or_a_schedule_with_a_reserved_name"),
    mutant("text/shown.py", 'frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})', 'frozenset({"Cc", "Cs", "Zl", "Zp"})', "unit/test_shown.py"),
    mutant("ui/cli/tables.py", "visible(str(value)).replace", "str(value).replace", "process/test_shown.py::test_no_command_writes_control_characters_that_come_from_a_job"),
    mutant("worker/spawning.py", "os.killpg(self.pid, signal.SIGKILL)", "os.kill(self.pid, signal.SIGKILL)", "stages/test_children.py::test_all_processes_that_a_handler_has_started_end_when_the_handler_ends[timeout]"),
    mutant("worker/running/child.py", "        self._socket.set_inheritable(False)\n", "", "stages/test_children.py::test_neither_programs_nor_forks_of_a_handler_inherit_the_socket_to_the_worker"),
    mutant("worker/running/children.py", "            if not child.has_ended:\n                return child\n", "            return child\n",
           "stages/test_children.py::test_no_attempt_is_counted_when_an_idle_child_is_killed"),
    mutant("worker/running/children.py", "self._failures += 1", "self._failures += 0", f"{PARTS}::test_the_time_before_a_child_process_is_started_again_grows_with_each_failure"),
    mutant("worker/stopping.py", "    claiming.cancel()\n    runner.release_waiting()\n", "    claiming.cancel()\n",
           "stages/test_stopping.py::test_attempts_that_never_began_are_released_if_a_handler_outlasts_the_grace_period"),
    mutant("worker/processes/supervisor.py", "if (drained and is_clean(code))", "if is_clean(code)",
           "process/test_fleet.py::test_the_jobs_of_a_worker_that_ends_by_itself_run_again_before_its_lease_ends[0]"),
    mutant("worker/processes/supervisor.py", "self._free_jobs(seat.worker_id, child.pid)", "pass",
           "process/test_fleet.py::test_the_jobs_of_a_worker_that_ends_by_itself_run_again_before_its_lease_ends[-11]"),
    mutant("worker/worker.py", "self.stop(number)\n        else:\n            self._drain()", "self.stop(number)\n        else:\n            self.stop(number)",
           "process/test_fleet.py::test_a_signal_to_all_processes_makes_them_drain_and_a_second_signal_makes_them_release_their_jobs"),
    mutant("worker/forked.py", "signal.signal(signal.SIGTERM, signal.SIG_DFL)", "pass",
           "stages/test_children.py::test_processes_that_a_handler_starts_can_be_terminated"),
    mutant("worker/running/pulse.py", "self._blocked >= max(NOTED, 2 * self._noted)", "self._noted",
           "process/test_blocked.py::test_a_blocked_loop_is_logged_and_shown_until_the_loop_runs_again"),
    mutant("worker/claiming/claimer.py", "self._wants_room or (self._settings.drain and not self._in_flight)", "self._wants_room",
           "stages/test_drain.py::test_a_worker_with_drain_does_not_wait_for_its_next_poll_after_the_last_job"),
    mutant("model/task.py", "            self.check_return(valid, text)\n", "            pass\n", "stages/test_round_trip.py::test_a_value_that_json_would_change_is_refused_and_the_error_contains_its_path"),
    mutant("model/payload.py", "return NUMBERS.sub(_without_exponent, text) if EXPONENT.search(text) else text", "return text",
           "stages/test_round_trip.py::test_a_value_that_json_can_represent_comes_back_equal"),
    mutant("sql/enqueuing/functions/notify.sql", "is distinct from 'off'", "is distinct from 'never'", "stages/test_two_phase_commits.py::test_a_transaction_sends_no_notification_if_it_sets_pgqueue_notify_to_off"),
    mutant("worker/running/threads.py", "                    if thread.interrupted:\n                        thread.absorb()\n", "                    pass\n", f"{THREADS}::test_an_interruption_that_comes_too_late_does_not_hit_the_next_attempt"),
    mutant("worker/running/threads.py", "                    if thread.interrupted:\n                        thread.absorb()\n", "                    thread.absorb()\n",
           f"{THREADS}::test_a_thread_is_not_interrupted_if_its_attempt_ends_in_time"),
    mutant("worker/running/threads.py", "            thread.abandoned = True\n", "", f"{THREADS}::test_a_thread_whose_handler_ignored_its_interruption_gets_no_more_attempts"),
    mutant("worker/running/call.py", "own.call(value_of, value)", "value_of(value)", "unit/test_contexts.py::test_middleware_and_handler_of_one_attempt_share_a_context"),
    mutant("worker/running/call.py", "copy_context().run(_perform, spec", "_perform(spec", "unit/test_contexts.py::test_no_attempt_sees_the_context_that_the_decoding_or_encoding_of_another_attempt_has_set"),
    mutant("worker/running/chunks.py", "await steps_in(copy_context(), performing)", "await performing",
           "unit/test_contexts.py::test_no_attempt_sees_the_context_that_the_retry_policy_of_another_attempt_has_set"),
    mutant("worker/running/contexts.py", "            if task.done():\n                raise\n", "            raise\n", "unit/test_contexts.py::test_an_asyncio_task_that_a_handler_left_behind_cannot_end_the_loop"),
    mutant("worker/running/conclusions.py", "        return decided(plain(error), DEFAULT_POLICY)\n", "        raise\n",
           "stages/test_whatever_is_raised.py::test_a_job_is_retried_and_the_class_of_the_error_is_stored_if_the_error_cannot_be_read"),
    mutant("worker/running/conclusions.py", 'Outcome.dead("bad_result", cause, spec.keep)', "Outcome.retried(1.0, cause)", "unit/test_results.py::test_a_job_is_dead_without_a_retry_if_its_result_cannot_be_stored"),
    mutant("worker/running/runner.py", "        self._accused.discard(attempt)\n", "", f"{RUNNER}::test_only_a_few_suspects_run_at_the_same_time_and_suspects_that_have_not_started_take_no_slot"),
    mutant("worker/running/runner.py", "len(self._accused) < SUSPECTS", "True", f"{RUNNER}::test_only_a_few_suspects_run_at_the_same_time_and_suspects_that_have_not_started_take_no_slot"),
    mutant("worker/running/runner.py", "replace(spec, chunk=1)", "spec", f"{RUNNER}::test_the_crash_of_a_suspect_ends_no_other_attempt"),
    mutant("worker/processes/channels.py", "        except ConnectionError:  # the supervisor died before it had read all messages of its workers\n            return False\n", "        except TimeoutError:\n            return False\n",
           "unit/test_supervisor.py::test_a_worker_notices_the_end_of_a_supervisor_that_dies_with_unread_messages"),
    mutant("sql/leases/rescue.sql", "(j.crash_count = 0 or e.keeper is null)::int", "1", "stages/test_suspects.py"),
    mutant("worker/worker.py", "if is_lost(error) or (isinstance(error, PgQueueError) and not is_of_a_value(error)):", "if True:",
           "stages/test_sifting.py::test_workers_start_and_other_declarations_are_stored_although_one_declaration_fails"),
    mutant("maintenance/declarations.py", "await sift(self._tasks, some, give_up)", "await some(self._tasks)",
           "stages/test_sifting.py::test_workers_start_and_other_declarations_are_stored_although_one_declaration_fails"),
    mutant("sql/leases/rescue.sql", " and l.id is distinct from e.keeper", "", "stages/test_suspects.py"),
    # ---------------------------------------------------------------- the command line and its queries
    mutant("sql/jobs/functions/why.sql", "x.taken < x.slots and (x.own is null or x.own_taken < x.own)", "x.taken < x.slots",
           "stages/test_why.py::test_why_says_how_many_slots_of_a_queue_are_taken_and_which_of_its_jobs_has_run_the_longest"),
    mutant("sql/queues/functions/serving_name.sql", "case when queue = any(queues) then queue\n        else (", "(",
           "stages/test_why.py::test_queues_that_fit_a_pattern_share_slots_but_a_queue_that_is_listed_by_name_has_separate_slots"),
    mutant("sql/jobs/functions/why.sql", "if not has_sequence_privilege('pgqueue.jobs_id_seq', 'select, usage') then", "if false then",
           "stages/test_why.py::test_why_asks_for_the_right_to_read_the_sequence_if_the_role_lacks_it"),
    mutant("sql/queues/views/queue_depth.sql", "full join", "left join", "process/test_cli_operations.py::test_a_queue_that_no_worker_has_served_yet_is_listed_and_can_be_paused"),
    mutant("sql/queues/find_unserved.sql", "where not w.task_served", "where not w.queue_served", "process/test_cli_operations.py::test_doctor_reports_a_task_if_no_worker_of_its_queue_has_this_task"),
    mutant("sql/queues/remove_queue.sql", "           + (select count(*) from pgqueue.jobs_dead j where j.queue = %(queue)s::text) as jobs", "           as jobs",
           "process/test_cli_operations.py::test_a_queue_is_not_removed_while_a_worker_or_a_job_needs_the_queue"),
    mutant("sql/jobs/fragments/matching.sql", "and (%(concurrency_key)s::text is null or j.concurrency_key = %(concurrency_key)s::text)\n", "",
           "process/test_cli_jobs.py::test_every_jobs_command_can_filter_by_keys_and_arguments"),
    mutant("sql/jobs/fragments/matching.sql", "j.args @> %(args)s::jsonb", "j.args <@ %(args)s::jsonb", "process/test_cli_jobs.py::test_every_jobs_command_can_filter_by_keys_and_arguments"),
    mutant("ui/cli/jobs.py", "connection.transaction(force_rollback=True)", "connection.transaction()",
           "process/test_cli_jobs.py::test_a_dry_run_predicts_the_result_of_the_command_for_jobs_of_every_state"),
    mutant("ui/cli/jobs.py", '"unique_key" if key in keys else outcome', "outcome", "process/test_cli_jobs.py::test_a_dry_run_predicts_the_result_of_the_command_for_jobs_of_every_state"),
    mutant("ui/cli/tables.py", 'replace("\\t", " ")', 'replace("\\t", "\\t")', "process/test_tables.py::test_every_table_fits_the_width_without_cutting_an_id"),
    mutant("ui/cli/tables.py", "if column.least is None:", "if False:", "process/test_tables.py::test_every_table_fits_the_width_without_cutting_an_id"),
    mutant("ui/cli/doctor.py", 'bad = {"error", "warn"} if strict else {"error"}', 'bad = {"error"}', "process/test_cli_operations.py::test_doctor_strict_fails_if_there_is_a_warning"),
    mutant("ui/cli/units.py", '"s", 1, 59.5', '"s", 1, 120', "process/test_tables.py::test_a_span_is_shown_in_the_unit_that_fits_its_length"),
    # ---------------------------------------------------------------- values that users pass
    mutant("database/run.py", "super().__init__(connection, row_factory=tuple_row)\n\n    @property\n    def adapters(self) -> AdaptersMap:\n        return _adapters_for(self._conn)\n\n\nclass OwnAsyncCursor",
           "super().__init__(connection)\n\n    @property\n    def adapters(self) -> AdaptersMap:\n        return _adapters_for(self._conn)\n\n\nclass OwnAsyncCursor",
           "stages/test_any_connection.py::test_enqueuing_works_with_any_row_factory"),
    mutant("database/run.py", "            cursor.execute(statement.text, statement.parameters, binary=True)", "            cursor.execute(statement.text, statement.parameters)",
           "stages/test_any_connection.py::test_enqueuing_works_under_any_setting_of_the_role"),
    mutant("database/run.py", 'return UNCONVERTED if connection.pgconn.parameter_status(b"client_encoding") == b"SQL_ASCII" else ADAPTERS', "return ADAPTERS",
           "stages/test_any_connection.py::test_enqueuing_works_under_any_setting_of_the_role"),
    mutant("database/joining.py", """ == b"UTF8"\n""", """ != b"LATIN1"\n""", "stages/test_any_connection.py::test_no_client_encoding_changes_a_character_of_an_argument_tag_or_key"),
    mutant("database/joining.py", "    wrapper.validate_no_broken_transaction()\n", "", "stages/test_django.py::test_an_enqueue_is_refused_in_an_atomic_block_that_will_be_rolled_back"),
    mutant("database/statements/enqueuing.py", """options.get("wake") is not False""", "True", "stages/test_two_phase_commits.py::test_a_transaction_can_be_prepared_if_its_enqueues_send_no_wake_up"),
    mutant("sql/enqueuing/functions/replace_job.sql", " and body -> 'wake' is distinct from 'false'", "", "stages/test_two_phase_commits.py::test_a_transaction_can_be_prepared_if_its_enqueues_send_no_wake_up"),
    mutant("sql/enqueuing/functions/wake.sql", "\n       or current_setting('pgqueue.notify', true) = 'off'", "", "stages/test_two_phase_commits.py::test_jobs_of_a_two_phase_transaction_of_psycopg_are_stored_without_a_wake_up"),
    mutant("sql/jobs/functions/cancel.sql", "perform pgqueue.notify(", "perform pg_notify('pgqueue', ", "stages/test_two_phase_commits.py::test_a_transaction_sends_no_notification_if_it_sets_pgqueue_notify_to_off"),
    mutant("model/task.py", "        if not self.is_closed or REPLACEMENT in written:\n            self.check_return(valid, text)\n", "", "stages/test_round_trip.py::test_a_value_that_json_would_change_is_refused_and_the_error_contains_its_path"),
    mutant("model/round_trip.py", ' and "serialization" not in schema', "", "stages/test_round_trip.py::test_a_value_that_json_would_change_is_refused_and_the_error_contains_its_path"),
    mutant("model/round_trip.py", "DISTINCT.issuperset(kinds)", "True", "stages/test_round_trip.py::test_a_value_that_json_would_change_is_refused_and_the_error_contains_its_path"),
    mutant("model/declaring.py", "            and self._known.get(id(known)) is not run_of_module()\n", "", "unit/test_declaring.py::test_two_tasks_with_the_same_name_in_one_run_of_a_module_are_an_error"),
    mutant("model/declaring.py", 'MAIN = ("__main__", "__mp_main__")', 'MAIN = ("__main__", "__main__")', "process/test_spawned.py"),
    mutant("database/run.py", "        if not was_open or not connection.closed:  # nothing was sent, or the server answered with an error\n            raise\n", "",
           "stages/test_lost_commits.py::test_an_enqueue_whose_commit_the_server_refuses_raises_the_error_of_the_server"),
    mutant("database/pools.py", "                        with confirmed(taken):\n                            taken.commit()\n", "", "stages/test_lost_commits.py::test_the_error_of_an_enqueue_whose_commit_gets_no_answer_contains_the_ids_of_its_jobs"),
    mutant("database/pools.py", "if not _use.get().one_statement or has_arrived(connection):", "if has_arrived(connection):",
           "process/test_silence.py::test_a_single_worker_completes_its_jobs_when_one_of_its_connections_goes_silent"),
    mutant("database/lock_waits.py", "return LIMIT.format(LOCK_PATIENCE).encode() if limited else NO_LIMIT", "return NO_LIMIT",
           "stages/test_lock_waits.py::test_a_batch_of_keys_ends_if_another_session_holds_one_of_its_keys"),
    mutant("database/lock_waits.py", "return LIMIT.format(LOCK_PATIENCE).encode() if limited else NO_LIMIT", "return LIMIT.format(LOCK_PATIENCE).encode()",
           "stages/test_lock_waits.py::test_the_bound_does_not_hold_for_statements_of_the_user_on_a_connection_of_the_app"),
    mutant("database/pools.py", "return monotonic() - _used_at.get(connection, -math.inf) > IDLE", "return False",
           "stages/test_one_round_trip.py::test_a_connection_that_was_idle_for_long_is_checked_before_its_use"),
    mutant("database/pools.py", "if not _use.get().one_statement or has_arrived(connection):", "if not _use.get().one_statement:",
           "stages/test_one_round_trip.py::test_a_connection_that_the_server_ended_while_it_was_idle_is_replaced"),
    mutant("database/pools.py", "    elif _is_doubtful(connection):\n        with within(connection, SILENCE):\n            ConnectionPool", "    elif _is_doubtful(connection):\n        if True:\n            ConnectionPool",
           "stages/test_one_round_trip.py::test_a_connection_that_fell_silent_while_it_was_idle_is_replaced"),
    mutant("database/pools.py", "with confirmed(taken), _cancelled_if_left(taken), gap():", "with gap():",
           "stages/test_lost_commits.py::test_an_enqueue_in_one_statement_is_not_sent_again_if_its_answer_is_lost"),
    mutant("database/pools.py", "with confirmed(taken), within(taken, ANSWER):", "with within(taken, ANSWER):",
           "stages/test_lost_commits.py::test_an_async_enqueue_whose_commit_gets_no_answer_raises_a_commit_unconfirmed_error"),
    mutant("database/pools.py", "with confirmed(taken), within(taken, ANSWER):", "with confirmed(taken):",
           "stages/test_one_round_trip.py::test_an_async_enqueue_whose_connection_falls_silent_raises_an_error"),
    mutant("app/storing.py", "self.pools.connection(autocommit=not is_copied(batches), own=True)", "self.pools.connection(own=True)",
           "stages/test_one_round_trip.py::test_an_enqueue_in_one_statement_takes_one_round_trip"),
    mutant("app/storing.py", "self.pools.aconnection(autocommit=not is_copied(batches), own=True)", "self.pools.aconnection(autocommit=True, own=True)",
           "stages/test_one_round_trip.py::test_jobs_that_are_stored_with_copy_are_stored_in_one_transaction"),
    mutant("worker/worker.py", "        await self.app.leave_loop()\n", "", "stages/test_drain.py::test_a_worker_ends_while_its_pool_is_connecting"),
    mutant("database/pools.py", "if taken.autocommit is not autocommit:\n                    taken", "if False:\n                    taken",
           "stages/test_pools.py::test_a_caller_that_sets_autocommit_does_not_change_it_for_the_next_caller"),
    mutant("database/pools.py", "if taken.autocommit is not autocommit:\n                await", "if False:\n                await",
           "stages/test_pools.py::test_a_caller_gets_one_transaction_wherever_the_former_caller_was_cancelled"),
    mutant("worker/running/threads.py", "        if self.shielded:", "        if False:", f"{THREADS}::test_an_interruption_waits_for_the_end_or_a_gap_of_an_uninterrupted_block",
           "stages/test_pools.py::test_the_pool_loses_no_connection_if_a_handler_is_interrupted_while_it_waits_for_one"),
    mutant("worker/running/threads.py", "                if self._task is None:", "                if True:",
           f"{THREADS}::test_an_async_handler_on_a_thread_is_cancelled_at_its_timeout_and_never_goes_on"),
    mutant("worker/running/threads.py", "                thread.cancel(work)", "                pass", f"{THREADS}::test_an_async_handler_on_a_thread_is_cancelled_on_request"),
    mutant("worker/running/threads.py", "            self._task = task\n            self._cancel_if_due(task)\n", "            self._task = task\n",
           f"{THREADS}::test_an_async_handler_on_a_thread_is_cancelled_if_it_was_asked_to_stop_before_it_began"),
    mutant("worker/running/threads.py", "        if work.ending >= TIMED_OUT:", "        if False:", f"{THREADS}::test_an_attempt_that_is_lost_or_timed_out_before_it_gets_a_thread_does_not_begin"),
    mutant("database/pools.py", "pool.timeout if here.thread is None else INTERRUPTIBLE_EVERY", "pool.timeout", "stages/test_pools.py::test_a_handler_that_waits_for_a_connection_is_still_ended_by_its_timeout"),
    mutant("runtime/interruption.py", "    finally:\n        thread.shield(outside)\n", "    finally:\n        thread.shield(False)\n", f"{THREADS}::test_uninterrupted_blocks_work_as_before_after_an_interruption_in_a_gap"),
    mutant("worker/worker.py", "            self._failures.add(why)\n", "", "stages/test_own_loop.py::test_a_worker_drains_and_exits_with_1_if_a_handler_breaks_the_loop_for_good"),
    mutant("worker/running/contexts.py", "            _end(loop, [task])\n            raise\n", "            raise\n", f"{THREADS}::test_an_async_handler_is_cancelled_if_an_interruption_hits_the_loop_of_its_thread"),
    mutant("worker/running/threads.py", "if self.current is work and self._cancel_pending:", "if False:", f"{THREADS}::test_an_async_handler_that_blocks_its_thread_is_interrupted"),
    mutant("sql/enqueuing/functions/split_each.sql", "case when a.request is null then '{}' else jsonb_build_object('idempotency_key', a.request) end", "'{}'",
           "stages/test_lost_commits.py::test_idempotency_keys_given_in_sql_find_duplicates"),
    mutant("database/joining.py", "    if connection is None:", "    if False:", "unit/test_joining.py::test_none_is_refused_as_a_connection_by_every_call_that_joins_a_transaction"),
    mutant("sql/jobs/views/job_timeline.sql", "where c.from_state = 'running' and", "where false and", "stages/test_timeline.py::test_the_timeline_shows_the_claim_of_every_attempt_and_each_end"),
    mutant("ui/cli/jobs.py", "    if len(ids) == 1:", "    if ids:", "process/test_cli_jobs.py::test_an_id_without_a_job_stops_no_other_id_and_is_in_the_answer"),
    mutant("ui/cli/usage.py", '"jobs retry": "jobs revive"', '"jobs retry": "jobs show"', "unit/test_command.py::test_an_error_of_usage_looks_like_every_other_error_and_says_what_to_run"),
    mutant("model/fire_times.py", 'if name == "day-of-month" and', "if False and", "unit/test_firetimes.py::test_the_error_about_a_bad_expression_says_which_field_is_bad"),
    # ---------------------------------------------------------------- rights and secrets
    Mutant("migrations/env.py", (("*views().values(), CLOSE)", "*views().values())"),), ("tests/schema/test_rights.py::test_public_has_no_right_to_execute_a_function",)),
    Mutant("migrations/env.py", (("set local lock_timeout = '5s'", "set local lock_timeout = 0"),), ("tests/schema/test_rights.py::test_a_migration_that_does_not_get_a_lock_reports_the_session_that_has_it",)),
    Mutant("migrations/env.py", (("if not owner.rolsuper and", "if false and"),), ("tests/schema/test_rights.py::test_a_migration_refuses_a_schema_that_belongs_to_another_role",)),
    mutant("sql/upkeep/functions/add_partitions.sql", "ahead not between 0 and 30", "ahead < 0", "schema/test_rights.py::test_a_function_that_runs_as_the_owner_refuses_arguments_outside_of_their_range"),
    mutant("database/run.py", '"set search_path = pg_catalog, pg_temp; set default', '"set default', "schema/test_search_path.py::test_the_statements_of_pgq_commands_are_safe"),
    mutant("sql/enqueuing/fragments/waking.sql", ", case when j.run_at operator(pg_catalog.<=)", ", case when j.run_at <=", "schema/test_search_path.py::test_every_way_to_enqueue_on_the_callers_connection_is_safe"),
    mutant("sql/enqueuing/functions/wake.sql", "security definer\n", "", "stages/test_roles.py::test_an_enqueuer_enqueues_in_every_way"),
    mutant("sql/leases/functions/finish_overdue.sql", "    moment := least(moment, clock_timestamp());\n", "", "stages/test_roles.py::test_an_enqueuer_gets_the_unique_key_of_an_expired_job_without_the_right_to_change_jobs"),
    mutant("sql/settling/settle.sql", "    select true, e.hook, 'pgqueue.hooks'", "    select null, e.hook, 'pgqueue.hooks'", "stages/test_reserved.py::test_settle_stores_the_job_of_a_hook_and_its_arguments_do_not_contain_stored_by_pgqueue"),
    mutant("sql/alerts/raise_alerts.sql", "where r.is_due and d.rank <= %(most)s::int", "where r.is_due", "stages/test_alerts.py::test_many_alerts_at_the_same_time_send_only_a_few_messages_each_minute"),
    mutant("worker/listener.py", "QUEUE_NAME.fullmatch(payload) is not None and", "", "unit/test_listener.py::test_a_flood_of_payloads_that_are_no_queues_costs_no_memory_and_wakes_no_worker"),
    mutant("database/outage.py", "redact(self.dsn)", "self.dsn", "process/test_secrets.py::test_a_workers_log_never_shows_the_password_of_its_dsn"),
    mutant("telemetry/log_output.py", "    LOG.addFilter(Cleaning())\n", "", "unit/test_shown.py::test_the_error_of_a_job_is_one_line_of_the_log_whatever_text_it_contains"),
    mutant("worker/processes/supervisor.py", "*origin.without_dsn(origin.ARGUMENTS)", "*origin.ARGUMENTS", "process/test_secrets.py::test_a_password_on_the_command_line_does_not_reach_other_processes_or_the_environment_of_handlers"),
    mutant("maintenance/alerting/settings.py", "self.webhook is not None and not _is_private(self.webhook)", "False", "process/test_secrets.py::test_a_token_is_refused_if_its_url_has_no_tls_and_is_on_another_machine"),
)
# fmt: on
