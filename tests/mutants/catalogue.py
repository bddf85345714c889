"""Small faults, each with the tests that must fail because of it. Every bug that is mended adds one."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Mutant:
    """Edits of ``file``: each first text, which stands there once, becomes the second. One of ``tests`` must notice it."""

    file: str
    edits: tuple[tuple[str, str], ...]
    tests: tuple[str, ...]

    @property
    def name(self) -> str:
        (gone, come), *_ = [[" ".join(text.split()) for text in edit] for edit in self.edits]
        return f"{self.file}: {gone[:70]} -> {come[:70] or 'nothing'}"

    @property
    def changes_schema(self) -> bool:
        """Whether databases must be made by the edited project."""
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
           "stages/test_drain.py::test_a_drain_ends_with_the_last_job_and_not_at_the_next_poll"),
    mutant("database/pools.py", "            self._abandon()\n        ours", "            pass\n        ours",
           "stages/test_waiting.py::test_a_pool_of_a_loop_that_is_closed_is_closed_too"),
    mutant("worker/running/conclusions.py", "server_time.now()", "__import__('time').time()",
           "stages/test_drain.py::test_how_old_a_job_is_does_not_depend_on_the_clock_of_the_host"),
    mutant("sql/claiming/claim.sql", "          and not l.cancel_requested\n", "", f"{CLAIMS}::test_what_may_not_run_is_claimed_in_no_way"),
    mutant("sql/claiming/claim.sql", "(l.expires_at is null or l.expires_at > now())", "true", f"{CLAIMS}::test_what_may_not_run_is_claimed_in_no_way"),
    mutant("sql/claiming/claim.sql", "(l.deadline_at is null or l.deadline_at > now())", "true", f"{CLAIMS}::test_what_may_not_run_is_claimed_in_no_way"),
    mutant("sql/claiming/claim.sql", "          and l.task = any(%(tasks)s::text[])\n", "", f"{CLAIMS}::test_what_may_not_run_is_claimed_in_no_way"),
    mutant("sql/claiming/claim.sql", "l.run_at <= now()", "l.run_at <= now() + interval '1 s'", f"{CLAIMS}::test_nothing_is_claimed_before_it_is_due"),
    mutant("sql/claiming/claim.sql", " and w.expires_at > clock_timestamp()", "", f"{CLAIMS}::test_a_worker_without_a_lease_claims_nothing"),
    mutant("sql/claiming/claim.sql", "q.name = lane.queue and q.paused", "false", f"{CLAIMS}::test_a_paused_queue_gives_nothing"),
    mutant("sql/claiming/fragments/may_start.sql", " and not j.cancel_requested and (least(j.expires_at, j.deadline_at) > moment) is not false", "",
           f"{CLAIMS}::test_what_may_not_run_is_claimed_in_no_way"),
    mutant("sql/claiming/fragments/may_start.sql", "not j.cancel_requested and (least(j.expires_at", "(least(j.expires_at",
           f"{CLAIMS}::test_what_may_not_run_is_claimed_in_no_way"),
    mutant("sql/claiming/fragments/may_start.sql", "j.run_at <= moment and ", "",
           f"{CLAIMS}::test_nothing_is_claimed_before_it_is_due"),
    mutant("sql/claiming/functions/claim_limited.sql", "              and j.task = any(tasks)\n", "",
           f"{CLAIMS}::test_what_may_not_run_is_claimed_in_no_way"),
    mutant("sql/claiming/functions/claim_limited.sql", " and w.expires_at > moment)", ")", f"{CLAIMS}::test_a_worker_without_a_lease_claims_nothing"),
    mutant("sql/claiming/functions/claim_limited.sql", "q.name = claim_limited.queue and q.paused", "false", f"{CLAIMS}::test_a_paused_queue_gives_nothing"),
    # ---------------------------------------------------------------- fences
    mutant("sql/settling/complete.sql", "      and j.lease_id operator(pg_catalog.=) (%(lease_ids)s::bigint[])[pg_catalog.width_bucket(j.id, %(ids)s::bigint[])]\n", "",
           f"{FENCES}::test_a_former_attempt_writes_nothing", f"{FENCES}::test_a_late_outcome_beside_a_good_one_gives_back_no_seat_of_the_next_attempt"),
    mutant("sql/settling/complete.sql", "(j.worker_id operator(pg_catalog.=) %(worker_id)s::bigint) is true and ", "", f"{FENCES}::test_an_attempt_writes_nothing_for_another_worker_that_has_its_number"),
    mutant("sql/settling/hold.sql", " and j.lease_id operator(pg_catalog.=) %(lease_id)s::bigint", "", f"{FENCES}::test_a_former_attempt_writes_nothing"),
    mutant("sql/settling/hold.sql", "(j.worker_id operator(pg_catalog.=) %(worker_id)s::bigint) is true and ", "", f"{FENCES}::test_an_attempt_writes_nothing_for_another_worker_that_has_its_number"),
    mutant("sql/settling/settle.sql", "j.lease_id = o.lease_id and j.worker_id is not distinct from %(worker_id)s::bigint\n      and j.state = 'running' and (o.state",
           "j.worker_id is not distinct from %(worker_id)s::bigint\n      and j.state = 'running' and (o.state", f"{FENCES}::test_a_former_attempt_writes_nothing"),
    mutant("sql/settling/settle.sql", "j.lease_id = o.lease_id and j.worker_id is not distinct from %(worker_id)s::bigint\n      and j.state = 'running' and o.state in",
           "j.worker_id is not distinct from %(worker_id)s::bigint\n      and j.state = 'running' and o.state in", f"{FENCES}::test_a_former_attempt_writes_nothing"),
    mutant("sql/settling/settle.sql", "    where h.holds is not null\n      and (h.id = any(array(select f.id from finished f)) or h.id = any(array(select b.id from back b)))\n",
           "    where h.holds is not null\n", f"{FENCES}::test_a_late_outcome_beside_a_good_one_gives_back_no_seat_of_the_next_attempt"),
    mutant("sql/settling/report_progress.sql", " and j.lease_id = r.lease_id", "", f"{FENCES}::test_progress_of_a_former_attempt_is_not_written"),
    mutant("sql/leases/heartbeat.sql", " and w.expires_at > clock_timestamp()", "", f"{FENCES}::test_a_lease_that_is_over_is_not_renewed"),
    mutant("sql/leases/heartbeat.sql", "w.state in ('running', 'draining') and ", "", f"{FENCES}::test_a_lease_that_is_over_is_not_renewed"),
    # ---------------------------------------------------------------- seats and limits
    mutant("sql/limits/functions/release.sql", "    perform pgqueue.wake(q.queue) from (select distinct w.queue from unnest(queues) w(queue)) q;\n", "",
           f"{FENCES}::test_a_freed_seat_wakes_a_worker"),
    mutant("sql/limits/functions/release.sql", "s.taken - g.weight", "s.taken - 1", "stages/test_limits.py"),
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
           f"{UPKEEP}::test_an_idempotency_key_lives_for_a_week_unless_it_is_told_otherwise"),
    mutant("sql/enqueuing/functions/unique_key.sql", "from pg_catalog.jsonb_array_elements_text(by) n (name))", "from pg_catalog.jsonb_array_elements_text(by) n (name) where args ? n.name)",
           f"{UPKEEP}::test_a_missing_argument_is_null_however_many_names_a_key_has", "stages/test_keys.py::test_what_is_not_passed_counts_as_null"),
    mutant("app/copy_lines.py", '_small(options.get("weight"))', "NULL", "stages/test_bulk.py::test_every_way_stores_the_same_row"),
    mutant("app/copy_lines.py", "len(tags), 1)", "len(tags), 2)", "stages/test_bulk.py::test_every_way_stores_the_same_row"),
    mutant("app/copy_lines.py", "_moment(_run_at(options, moment))", "_moment(moment)", "stages/test_bulk.py::test_run_at_is_the_same_moment_in_every_way"),
    mutant("app/copy_lines.py", "round(timeout * 1_000_000)", "int(timeout) * 1_000_000", "stages/test_bulk.py::test_every_way_stores_the_same_row"),
    mutant("sql/enqueuing/insert_job.sql", ", %(weight)s::smallint", ", null", "stages/test_bulk.py::test_every_way_stores_the_same_row"),
    mutant("worker/running/conclusions.py", "is_reserved(attempt.task) and not", "False and not", "stages/test_reserved.py::test_what_is_stored_past_them_is_buried_and_never_run"),
    mutant("sql/enqueuing/functions/is_reserved.sql", " or pg_catalog.strpos(task, ':on_') operator(pg_catalog.>) 0", "", "stages/test_reserved.py::test_sql_stores_no_job_of_a_reserved_name"),
    mutant("app/copy_lines.py", 'options.get("ordering")', "None", "stages/test_bulk.py::test_every_way_stores_the_same_row"),
    mutant("sql/enqueuing/functions/wake.sql", "::bigint + 10)", "::bigint + 10000)", "stages/test_wake.py::test_others_are_spared_for_less_than_the_time_after_which_a_woken_worker_looks_again"),
    # ---------------------------------------------------------------- what is kept
    mutant("sql/upkeep/functions/purge_jobs.sql", "where i.inhparent in ('pgqueue.jobs_done'::regclass, 'pgqueue.transitions'::regclass)",
           "where i.inhparent in ('pgqueue.jobs'::regclass, 'pgqueue.jobs_done'::regclass, 'pgqueue.transitions'::regclass)",
           f"{UPKEEP}::test_dead_letters_stay_until_somebody_takes_them"),
    mutant("sql/upkeep/purge.sql", "          and not exists (select from pgqueue.jobs_live j where j.worker_id = o.id)\n", "",
           f"{UPKEEP}::test_a_worker_stays_while_a_job_names_it_and_goes_when_none_does"),
    mutant("sql/upkeep/purge.sql", "o.state in ('stopped', 'expired')", "o.state = 'stopped'", f"{UPKEEP}::test_a_worker_stays_while_a_job_names_it_and_goes_when_none_does"),
    mutant("sql/schedules/purge_runs.sql", "          and exists (select from pgqueue.schedule_runs n where n.schedule_id = o.schedule_id and n.fire_at > o.fire_at)\n", "",
           f"{UPKEEP}::test_the_last_run_of_a_schedule_stays_and_so_do_those_whose_job_has_not_ended"),
    mutant("sql/schedules/purge_runs.sql", "          and not exists (select from pgqueue.jobs_live j where j.id = o.job_id)\n", "",
           f"{UPKEEP}::test_the_last_run_of_a_schedule_stays_and_so_do_those_whose_job_has_not_ended"),
    mutant("sql/leases/adopt_orphans.sql", "j.worker_id is not null and not exists", "j.worker_id is null and not exists",
           f"{UPKEEP}::test_jobs_of_a_worker_whose_row_is_gone_are_rescued"),
    mutant("sql/leases/adopt_orphans.sql", "'expired',\n       clock_timestamp() - interval '1 second'", "'expired',\n       clock_timestamp() + interval '1 hour'",
           f"{UPKEEP}::test_jobs_of_a_worker_whose_row_is_gone_are_rescued"),
    mutant("sql/claiming/functions/unclaimed_queues.sql", "where --+ claim_idx j\n", "where false\n",
           f"{UPKEEP}::test_a_queue_that_no_worker_serves_becomes_known"),
    mutant("sql/claiming/functions/unclaimed_queues.sql", "where --+ key_idx j\n", "where false\n",
           f"{UPKEEP}::test_a_queue_that_no_worker_serves_becomes_known"),
    mutant("sql/leases/elect.sql", "        where l.worker_id = excluded.worker_id or l.expires_at < clock_timestamp()\n", "",
           f"{UPKEEP}::test_of_two_that_ask_at_once_one_leads"),
    mutant("sql/leases/elect.sql", "    where not exists (select from now_leading n where n.worker_id <> %(worker_id)s::bigint and n.expires_at >= clock_timestamp())\n", "    where true\n",
           f"{UPKEEP}::test_to_ask_while_another_leads_waits_for_no_lock"),
    mutant("sql/upkeep/functions/expired_before.sql", "set timezone = 'UTC'\n", "", f"{UPKEEP}::test_days_are_those_of_utc_whatever_the_session_s_zone"),
    mutant("sql/upkeep/functions/add_partitions.sql", "set timezone = 'UTC'\n", "", f"{UPKEEP}::test_days_are_those_of_utc_whatever_the_session_s_zone"),
    # ---------------------------------------------------------------- the small parts of a worker
    mutant("worker/settler.py", "self._outcomes[:LARGEST], self._outcomes[LARGEST:]", "self._outcomes[:LARGEST], []",
           f"{PARTS}::test_more_outcomes_than_fit_in_a_batch_are_all_written"),
    mutant("worker/settler.py", "                    part.sort(key=_job_id)\n", "", f"{PARTS}::test_outcomes_may_arrive_in_any_order"),
    mutant("worker/settler.py", "await self._write([(attempt, refused)], self._settle)", "pass",
           f"{PARTS}::test_an_outcome_that_the_database_refuses_loses_no_other"),
    mutant("database/sifting.py", "for part in (items[:middle], items[middle:]):", "for part in (items[:middle],):", "unit/test_sifting.py::test_whichever_items_fail_the_others_are_done_once_in_order"),
    mutant("worker/claiming/singly.py", "if asked := count - len(choices):", "if asked := count:",
           "stages/test_sifting.py::test_a_claim_that_leaves_out_a_row_takes_no_more_than_there_is_room_for"),
    mutant("database/sifting.py", "if found or is_of_a_value(known)]", "]", "unit/test_sifting.py::test_what_was_never_tried_is_no_success_of_others"),
    mutant("database/sifting.py", "(leave if may_pass(error) else give_up)", "give_up", "unit/test_sifting.py::test_an_error_that_may_pass_gives_up_no_item"),
    mutant("worker/claiming/singly.py", "if failure.statement in self.succeeded else []", "",
           "stages/test_failing_triggers.py::test_jobs_whose_own_kind_of_claim_is_broken_are_not_buried_and_hold_up_no_other_kind"),
    mutant("database/sifting.py", "if is_lost(error) or not items:", "if not items:", "unit/test_sifting.py::test_a_lost_server_is_no_rows_fault_and_nothing_is_tried_on_parts"),
    mutant("database/sifting.py", "if probes and len(failed) == PROBES", "if False and probes", "unit/test_sifting.py::test_what_every_row_fails_with_is_learnt_from_a_few"),
    mutant("database/outage.py", 'if error.diag.severity_nonlocalized == "ERROR":', "if False:", "stages/test_failing_triggers.py::test_whatever_a_trigger_raises_for_one_job_the_others_are_settled"),
    mutant("runtime/services.py", "    asyncio._unregister_task(task)", "    #", "stages/test_own_loop.py::test_whatever_a_handler_does_to_the_loop_its_worker_works_on_and_ends_when_it_is_asked"),
    mutant("model/outcome.py", "max(asked, SHORTEST)", "asked", "unit/test_outcome.py::test_the_outcome_of_a_failed_attempt"),
    mutant("worker/claiming/in_flight.py", "                former.end(Ending.LOST)\n", "", f"{PARTS}::test_a_later_claim_of_the_same_job_ends_the_former_one"),
    mutant("worker/claiming/in_flight.py", "                self.remove([former])\n", "", f"{PARTS}::test_a_later_claim_of_the_same_job_ends_the_former_one"),
    mutant("worker/claiming/in_flight.py", "if self.attempts.get(attempt.id) is attempt:", "if attempt.id in self.attempts:",
           f"{PARTS}::test_a_later_claim_of_the_same_job_ends_the_former_one"),
    mutant("worker/attempt_lease.py", "outcome = attempt.with_progress(Outcome.completed(spec.encode_result(result), spec.keep))",
           "outcome = Outcome.completed(spec.encode_result(result), spec.keep)", f"{PARTS}::test_what_a_job_says_last_goes_with_its_transaction"),
    mutant("worker/running/progress_writer.py", "if attempt.progress is progress and attempt.id in written:", "if attempt.id in written:",
           f"{PARTS}::test_what_is_said_while_the_former_report_is_written_is_not_lost"),
    # ---------------------------------------------------------------- leases, identities, silence
    mutant("database/outage.py", '    return state is None or state.startswith("08") or state in LOST\n', "    return True\n",
           "unit/test_outage.py::test_every_other_error_is_the_servers_answer_and_some_are_about_a_row"),
    mutant("database/outage.py", "        if now - self._said.get(kind, -REMIND) >= REMIND:\n", "        if True:\n",
           "unit/test_outage.py::test_an_answer_is_told_once_with_its_code_and_asked_for_again_ever_later"),
    mutant("database/silence.py", "        same.shutdown(socket.SHUT_RDWR)\n", "        pass\n", f"{LEASES}::test_a_silent_heartbeat_costs_no_lease_if_another_connection_can_be_made"),
    mutant("worker/heartbeat.py", "_Life(worker_id, asked + self._lease)", "_Life(worker_id, monotonic() + self._lease)",
           f"{LEASES}::test_a_lease_counts_from_the_question_and_not_from_the_answer"),
    mutant("worker/attempt.py", "        return NothingToSettle.LEASE_LOST if self.ending is Ending.LOST else None\n", "        return None\n",
           f"{LEASES}::test_what_a_lost_attempt_comes_to_is_not_written"),
    mutant("worker/claiming/in_flight.py", "                self._lose([former])\n", "", f"{PARTS}::test_a_later_claim_of_the_same_job_ends_the_former_one"),
    mutant("worker/settler.py", "        return [item for item in batch if item[0].id not in ids]\n", "        return []\n",
           f"{LEASES}::test_an_open_change_of_one_running_job_holds_up_only_its_own_outcome"),
    mutant("sql/claiming/fragments/starting.sql", "greatest(j.lease_id + 1, (date_part('epoch', clock_timestamp()) * 1000000)::bigint)", "j.lease_id + 1",
           f"{LEASES}::test_a_lease_id_grows_though_a_crash_took_the_claim_back"),
    mutant("sql/leases/find_disowned.sql", "l.lease_id <> held.lease_id or ", "", f"{LEASES}::test_attempts_whose_claims_the_server_took_back_are_known"),
    mutant("sql/claiming/held.sql", " and j.id <> all(%(known)s::bigint[])", "",
           f"{LEASES}::test_a_claim_that_was_not_heard_of_is_found_and_what_is_known_is_not_found_again"),
    mutant("sql/settling/find_committed.sql", "j.lease_id <> h.lease_id or ", "",
           "stages/test_lost_answers.py::test_a_commit_without_an_answer_is_not_told_as_made_once_the_job_was_taken_back"),
    mutant("sql/settling/find_committed.sql", " or j.state <> 'completed'", "",
           "stages/test_lost_answers.py::test_a_commit_without_an_answer_is_not_told_as_made_once_the_job_was_taken_back"),
    # ---------------------------------------------------------------- what strangers found
    mutant("database/joining.py", "        and connection.info.pipeline_status is PipelineStatus.OFF\n", "", "stages/test_any_connection.py::test_a_pipeline"),
    mutant("database/joining.py", "        return connection._tpc is not None", "        return False",
           "stages/test_two_phase_commits.py::test_a_two_phase_transaction_of_psycopg_is_prepared_and_its_jobs_are_found"),
    mutant("database/pools.py", "self._size = max(self._size, 2 * handlers)", "pass", "stages/test_waiting.py::test_a_worker_has_room_for_two_connections_a_slot_unless_the_app_says_how_many"),
    mutant("model/names.py", """.startswith("pgqueue.") or ":on_" in task""", """.startswith("pgqueue.")""", "stages/test_reserved.py::test_no_task_or_schedule_of_python_has_such_a_name"),
    mutant("text/shown.py", 'frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})', 'frozenset({"Cc", "Cs", "Zl", "Zp"})', "unit/test_shown.py"),
    mutant("ui/cli/tables.py", "visible(str(value)).replace", "str(value).replace", "process/test_shown.py::test_no_command_writes_what_acts_on_a_terminal"),
    mutant("worker/spawning.py", "os.killpg(self.pid, signal.SIGKILL)", "os.kill(self.pid, signal.SIGKILL)", "stages/test_children.py::test_all_that_a_handler_started_ends_with_it[timeout]"),
    mutant("worker/running/child.py", "        self._socket.set_inheritable(False)\n", "", "stages/test_children.py::test_neither_programs_nor_forks_have_the_way_to_the_worker"),
    mutant("worker/running/children.py", "            if not child.has_ended:\n                return child\n", "            return child\n",
           "stages/test_children.py::test_a_child_that_died_while_it_was_idle_costs_no_job_an_attempt"),
    mutant("worker/running/children.py", "self._failures += 1", "self._failures += 0", f"{PARTS}::test_children_that_cannot_be_started_are_tried_ever_more_seldom"),
    mutant("worker/stopping.py", "    claiming.cancel()\n    runner.release_waiting()\n", "    claiming.cancel()\n",
           "stages/test_stopping.py::test_what_waits_behind_a_job_that_outlasts_the_grace_goes_back_uncharged"),
    mutant("worker/processes/supervisor.py", "if (drained and is_clean(code))", "if is_clean(code)",
           "process/test_fleet.py::test_a_worker_that_ends_unasked_is_started_again_and_its_jobs_are_back_at_once[0]"),
    mutant("worker/processes/supervisor.py", "self._free_jobs(seat.worker_id, child.pid)", "pass",
           "process/test_fleet.py::test_a_worker_that_ends_unasked_is_started_again_and_its_jobs_are_back_at_once[-11]"),
    mutant("worker/worker.py", "self.stop(number)\n        else:\n            self._drain()", "self.stop(number)\n        else:\n            self.stop(number)",
           "process/test_fleet.py::test_a_signal_to_all_processes_is_one_request_to_stop_and_a_second_one_hurries"),
    mutant("worker/forked.py", "signal.signal(signal.SIGTERM, signal.SIG_DFL)", "pass",
           "stages/test_children.py::test_what_a_handler_starts_can_be_terminated_as_anywhere"),
    mutant("worker/running/pulse.py", "self._blocked >= max(NOTED, 2 * self._noted)", "self._noted",
           "process/test_blocked.py::test_a_blocked_loop_is_logged_once_with_its_stack_and_shown_until_it_turns_again"),
    mutant("worker/claiming/claimer.py", "self._wants_room or (self._settings.drain and not self._in_flight)", "self._wants_room",
           "stages/test_drain.py::test_a_drain_ends_with_the_last_job_and_not_at_the_next_poll"),
    mutant("model/task.py", "            self.check_return(valid, text)\n", "            pass\n", "stages/test_round_trip.py::test_what_would_change_is_refused_with_its_place"),
    mutant("model/payload.py", "return NUMBERS.sub(_without_exponent, text) if EXPONENT.search(text) else text", "return text",
           "stages/test_round_trip.py::test_what_json_can_carry_comes_back_equal"),
    mutant("sql/enqueuing/functions/notify.sql", "is distinct from 'off'", "is distinct from 'never'", "stages/test_two_phase_commits.py::test_in_sql_a_transaction_can_tell_that_it_sends_no_notification"),
    mutant("worker/running/threads.py", "                    if thread.interrupted:\n                        thread.absorb()\n", "                    pass\n", f"{THREADS}::test_an_interruption_that_comes_too_late_hits_nothing_else"),
    mutant("worker/running/threads.py", "                    if thread.interrupted:\n                        thread.absorb()\n", "                    thread.absorb()\n",
           f"{THREADS}::test_a_thread_is_not_touched_unless_its_attempt_is_out_of_time"),
    mutant("worker/running/threads.py", "            thread.abandoned = True\n", "", f"{THREADS}::test_a_thread_whose_handler_was_deaf_takes_nothing_more"),
    mutant("worker/running/call.py", "own.call(value_of, value)", "value_of(value)", "unit/test_contexts.py::test_middleware_and_handler_of_one_attempt_share_a_context"),
    mutant("worker/running/call.py", "copy_context().run(_perform, spec", "_perform(spec", "unit/test_contexts.py::test_no_attempt_sees_what_the_arguments_or_the_result_of_another_set"),
    mutant("worker/running/chunks.py", "await steps_in(copy_context(), performing)", "await performing",
           "unit/test_contexts.py::test_no_attempt_sees_what_the_retry_policy_of_another_set"),
    mutant("worker/running/contexts.py", "            if task.done():\n                raise\n", "            raise\n", "unit/test_contexts.py::test_what_a_job_leaves_running_on_a_loop_cannot_end_it"),
    mutant("worker/running/conclusions.py", "        return decided(plain(error), DEFAULT_POLICY)\n", "        raise\n",
           "stages/test_whatever_is_raised.py::test_an_error_of_which_nothing_can_be_asked_is_told_by_its_name_and_tried_again"),
    mutant("worker/running/conclusions.py", 'Outcome.dead("bad_result", cause, spec.keep)', "Outcome.retried(1.0, cause)", "unit/test_results.py::test_a_result_that_cannot_be_stored_is_dead_at_once"),
    mutant("worker/running/runner.py", "        self._accused.discard(attempt)\n", "", f"{RUNNER}::test_few_suspects_run_at_once_each_makes_room_and_those_that_wait_take_no_slot"),
    mutant("worker/running/runner.py", "len(self._accused) < SUSPECTS", "True", f"{RUNNER}::test_few_suspects_run_at_once_each_makes_room_and_those_that_wait_take_no_slot"),
    mutant("worker/running/runner.py", "replace(spec, chunk=1)", "spec", f"{RUNNER}::test_a_deadly_suspect_dies_alone"),
    mutant("worker/processes/channels.py", "        except ConnectionError:  # it died with messages of its workers unread\n            return False\n", "        except TimeoutError:\n            return False\n",
           "unit/test_supervisor.py::test_a_supervisor_that_dies_with_unread_messages_is_gone_and_no_bug"),
    mutant("sql/leases/rescue.sql", "(j.crash_count = 0 or e.keeper is null)::int", "1", "stages/test_suspects.py"),
    mutant("worker/worker.py", "if is_lost(error) or (isinstance(error, PgQueueError) and not is_of_a_value(error)):", "if True:",
           "stages/test_sifting.py::test_a_stored_declaration_that_fails_keeps_no_worker_from_starting_and_no_other_from_being_stored"),
    mutant("maintenance/declarations.py", "await sift(self._tasks, some, give_up)", "await some(self._tasks)",
           "stages/test_sifting.py::test_a_stored_declaration_that_fails_keeps_no_worker_from_starting_and_no_other_from_being_stored"),
    mutant("sql/leases/rescue.sql", " and l.id is distinct from e.keeper", "", "stages/test_suspects.py"),
    # ---------------------------------------------------------------- the command line and what it asks
    mutant("sql/jobs/functions/why.sql", "x.taken < x.slots and (x.own is null or x.own_taken < x.own)", "x.taken < x.slots",
           "stages/test_why.py::test_a_queues_own_slots_are_told_with_who_has_them"),
    mutant("sql/queues/functions/serving_name.sql", "case when queue = any(queues) then queue\n        else (", "(",
           "stages/test_why.py::test_the_slots_of_a_pattern_are_shared_by_its_queues_and_a_name_goes_before_it"),
    mutant("sql/jobs/functions/why.sql", "if not has_sequence_privilege('pgqueue.jobs_id_seq', 'select, usage') then", "if false then",
           "stages/test_why.py::test_a_role_that_may_not_read_the_sequence_is_told_so_instead_of_a_guess"),
    mutant("sql/queues/views/queue_depth.sql", "full join", "left join", "process/test_cli_operations.py::test_a_queue_that_no_worker_has_served_yet_is_seen_and_can_be_paused"),
    mutant("sql/queues/unserved.sql", "where not w.task_served", "where not w.queue_served", "process/test_cli_operations.py::test_doctor_tells_a_task_that_no_worker_of_its_queue_knows"),
    mutant("sql/queues/remove_queue.sql", "           + (select count(*) from pgqueue.jobs_dead j where j.queue = %(queue)s::text) as jobs", "           as jobs",
           "process/test_cli_operations.py::test_a_queue_is_removed_only_when_nothing_needs_it"),
    mutant("sql/jobs/fragments/matching.sql", "and (%(concurrency_key)s::text is null or j.concurrency_key = %(concurrency_key)s::text)\n", "",
           "process/test_cli_jobs.py::test_jobs_are_chosen_by_key_and_arguments_by_every_command"),
    mutant("sql/jobs/fragments/matching.sql", "j.args @> %(args)s::jsonb", "j.args <@ %(args)s::jsonb", "process/test_cli_jobs.py::test_jobs_are_chosen_by_key_and_arguments_by_every_command"),
    mutant("ui/cli/jobs.py", "connection.transaction(force_rollback=True)", "connection.transaction()",
           "process/test_cli_jobs.py::test_a_dry_run_promises_what_the_command_does_for_jobs_of_every_state"),
    mutant("ui/cli/jobs.py", '"unique_key" if key in keys else outcome', "outcome", "process/test_cli_jobs.py::test_a_dry_run_promises_what_the_command_does_for_jobs_of_every_state"),
    mutant("ui/cli/tables.py", 'replace("\\t", " ")', 'replace("\\t", "\\t")', "process/test_tables.py::test_any_table_fits_and_keeps_each_short_cell_whole"),
    mutant("ui/cli/tables.py", "if column.least is None:", "if False:", "process/test_tables.py::test_any_table_fits_and_keeps_each_short_cell_whole"),
    mutant("ui/cli/doctor.py", 'bad = {"error", "warn"} if strict else {"error"}', 'bad = {"error"}', "process/test_cli_operations.py::test_strict_makes_a_warning_fail_and_a_served_database_passes"),
    mutant("ui/cli/units.py", '"s", 1, 59.5', '"s", 1, 120', "process/test_tables.py::test_a_span_is_said_in_one_fitting_unit"),
    # ---------------------------------------------------------------- what people pass in
    mutant("database/run.py", "super().__init__(connection, row_factory=tuple_row)\n\n    @property\n    def adapters(self) -> AdaptersMap:\n        return _adapters_for(self._conn)\n\n\nclass OwnAsyncCursor",
           "super().__init__(connection)\n\n    @property\n    def adapters(self) -> AdaptersMap:\n        return _adapters_for(self._conn)\n\n\nclass OwnAsyncCursor",
           "stages/test_any_connection.py::test_any_row_factory"),
    mutant("database/run.py", "            cursor.execute(statement.text, statement.parameters, binary=True)", "            cursor.execute(statement.text, statement.parameters)",
           "stages/test_any_connection.py::test_any_setting_of_the_role"),
    mutant("database/run.py", 'return UNCONVERTED if connection.pgconn.parameter_status(b"client_encoding") == b"SQL_ASCII" else ADAPTERS', "return ADAPTERS",
           "stages/test_any_connection.py::test_any_setting_of_the_role"),
    mutant("database/joining.py", """ == b"UTF8"\n""", """ != b"LATIN1"\n""", "stages/test_any_connection.py::test_no_encoding_puts_another_character_in_the_place_of_one"),
    mutant("database/joining.py", "    wrapper.validate_no_broken_transaction()\n", "", "stages/test_django.py::test_a_broken_atomic_of_django_takes_no_job"),
    mutant("database/statements/enqueuing.py", """options.get("wake") is not False""", "True", "stages/test_two_phase_commits.py::test_an_enqueue_without_a_wake_up_can_be_prepared_by_hand"),
    mutant("sql/enqueuing/functions/replace_job.sql", " and body -> 'wake' is distinct from 'false'", "", "stages/test_two_phase_commits.py::test_an_enqueue_without_a_wake_up_can_be_prepared_by_hand"),
    mutant("sql/enqueuing/functions/wake.sql", "\n       or current_setting('pgqueue.notify', true) = 'off'", "", "stages/test_two_phase_commits.py::test_a_two_phase_transaction_of_psycopg_is_prepared_and_its_jobs_are_found"),
    mutant("sql/jobs/functions/cancel.sql", "perform pgqueue.notify(", "perform pg_notify('pgqueue', ", "stages/test_two_phase_commits.py::test_in_sql_a_transaction_can_tell_that_it_sends_no_notification"),
    mutant("model/task.py", "        if not self.is_closed or REPLACEMENT in written:\n            self.check_return(valid, text)\n", "", "stages/test_round_trip.py::test_what_would_change_is_refused_with_its_place"),
    mutant("model/round_trip.py", ' and "serialization" not in schema', "", "stages/test_round_trip.py::test_what_would_change_is_refused_with_its_place"),
    mutant("model/round_trip.py", "DISTINCT.issuperset(kinds)", "True", "stages/test_round_trip.py::test_what_would_change_is_refused_with_its_place"),
    mutant("model/declaring.py", "            and self._known.get(id(known)) is not run_of_module()\n", "", "unit/test_declaring.py::test_two_of_one_name_in_one_run_are_an_error"),
    mutant("model/declaring.py", 'MAIN = ("__main__", "__mp_main__")', 'MAIN = ("__main__", "__main__")', "process/test_spawned.py"),
    mutant("database/run.py", "        if not was_open or not connection.closed:  # nothing was sent, or the server refused\n            raise\n", "",
           "stages/test_lost_commits.py::test_a_transaction_that_the_server_refuses_at_its_end_is_told_as_what_it_is"),
    mutant("database/pools.py", "                    with confirmed(taken):\n                        taken.commit()\n", "", "stages/test_lost_commits.py::test_an_enqueue_whose_commit_is_not_confirmed_says_so_and_names_the_jobs"),
    mutant("worker/worker.py", "        await self.app.leave_loop()\n", "", "stages/test_drain.py::test_a_worker_ends_while_its_pool_is_connecting"),
    mutant("database/pools.py", "                if taken.autocommit:", "                if False:",
           "stages/test_pools.py::test_a_caller_who_lets_each_statement_commit_does_it_for_himself_alone"),
    mutant("database/pools.py", "            if taken.autocommit:\n                await", "            if False:\n                await",
           "stages/test_pools.py::test_a_caller_cancelled_at_any_step_leaves_the_next_one_a_transaction"),
    mutant("worker/running/threads.py", "        if self.shielded:", "        if False:", f"{THREADS}::test_an_interruption_waits_until_what_must_not_be_left_halfway_is_over",
           "stages/test_pools.py::test_a_handler_interrupted_while_it_waits_for_a_connection_takes_none_with_it"),
    mutant("worker/running/threads.py", "                if self._task is None:", "                if True:",
           f"{THREADS}::test_an_async_handler_on_a_thread_that_is_out_of_time_is_cancelled_and_does_not_go_on_beside_the_next"),
    mutant("worker/running/threads.py", "                thread.cancel(work)", "                pass", f"{THREADS}::test_an_async_handler_on_a_thread_is_cancelled_on_request"),
    mutant("worker/running/threads.py", "            self._task = task\n            self._cancel_if_due(task)\n", "            self._task = task\n",
           f"{THREADS}::test_an_async_handler_on_a_thread_that_is_to_end_before_it_has_begun_does_not_run_to_its_end"),
    mutant("worker/running/threads.py", "        if work.ending >= TIMED_OUT:", "        if False:", f"{THREADS}::test_an_attempt_that_is_over_before_a_thread_has_it_does_not_begin"),
    mutant("database/pools.py", "pool.timeout if here.thread is None else SLICE", "pool.timeout", "stages/test_pools.py::test_a_handler_whose_time_is_up_while_it_waits_for_a_connection_is_not_deaf"),
    mutant("runtime/interruption.py", "    finally:\n        thread.shield(outside)\n", "    finally:\n        thread.shield(False)\n", f"{THREADS}::test_what_an_interruption_leaves_is_shielded_as_it_was_before"),
    mutant("worker/worker.py", "            self._failures.add(why)\n", "", "stages/test_own_loop.py::test_a_loop_that_cannot_be_mended_drains_the_worker_with_one_line_and_an_exit_code"),
    mutant("worker/running/contexts.py", "            _end(loop, [task])\n            raise\n", "            raise\n", f"{THREADS}::test_what_ends_a_threads_loop_from_outside_ends_the_handler_that_it_ran"),
    mutant("worker/running/threads.py", "if self.current is work and self._cancel_pending:", "if False:", f"{THREADS}::test_an_async_handler_that_blocks_its_thread_is_interrupted"),
    mutant("sql/enqueuing/functions/split_each.sql", "case when a.request is null then '{}' else jsonb_build_object('idempotency_key', a.request) end", "'{}'",
           "stages/test_lost_commits.py::test_idempotency_keys_by_sql"),
    # ---------------------------------------------------------------- rights and secrets
    Mutant("migrations/env.py", (("*views().values(), CLOSE)", "*views().values())"),), ("tests/schema/test_rights.py::test_public_may_execute_nothing",)),
    Mutant("migrations/env.py", (("set local lock_timeout = '5s'", "set local lock_timeout = 0"),), ("tests/schema/test_rights.py::test_a_lock_that_is_held_is_told_with_its_session",)),
    Mutant("migrations/env.py", (("if not owner.rolsuper and", "if false and"),), ("tests/schema/test_rights.py::test_a_schema_that_another_role_made_is_refused",)),
    mutant("sql/upkeep/functions/add_partitions.sql", "ahead not between 0 and 30", "ahead < 0", "schema/test_rights.py::test_a_function_of_the_owner_has_bounded_arguments"),
    mutant("database/run.py", '"set search_path = pg_catalog, pg_temp; set default', '"set default', "schema/test_search_path.py::test_what_pgq_does_is_safe"),
    mutant("sql/enqueuing/insert_job.sql", ", case when j.run_at operator(pg_catalog.<=)", ", case when j.run_at <=", "schema/test_search_path.py::test_every_way_to_enqueue_on_the_callers_connection_is_safe"),
    mutant("sql/enqueuing/functions/wake.sql", "security definer\n", "", "stages/test_roles.py::test_an_enqueuer_enqueues_in_every_way"),
    mutant("sql/leases/functions/finish_overdue.sql", "    moment := least(moment, clock_timestamp());\n", "", "stages/test_roles.py::test_an_enqueuer_gets_the_key_of_a_job_that_is_over_though_it_may_change_none"),
    mutant("sql/settling/settle.sql", "    select true, e.hook, 'pgqueue.hooks'", "    select null, e.hook, 'pgqueue.hooks'", "stages/test_reserved.py::test_a_hook_is_told_by_settle_and_does_not_see_who_stored_it"),
    mutant("sql/alerts/raise_alerts.sql", "where r.is_due and d.place <= %(most)s::int", "where r.is_due", "stages/test_alerts.py::test_a_flood_of_alerts_is_told_in_a_few_messages_a_minute_the_last_of_which_counts_the_rest"),
    mutant("worker/listener.py", "QUEUE_NAME.fullmatch(payload) is not None and", "", "unit/test_listener.py::test_a_flood_of_what_is_no_queue_costs_no_memory_and_wakes_nobody"),
    mutant("database/outage.py", "redact(self.dsn)", "self.dsn", "process/test_secrets.py::test_a_workers_log_never_shows_the_password_of_its_dsn"),
    mutant("telemetry/log_output.py", "    LOG.addFilter(Cleaning())\n", "", "unit/test_shown.py::test_the_error_of_a_job_is_one_line_of_the_log_whatever_it_holds"),
    mutant("worker/processes/supervisor.py", "*origin.without_dsn(origin.ARGUMENTS)", "*origin.ARGUMENTS", "process/test_secrets.py::test_a_password_of_the_command_line_is_in_no_list_of_processes_and_no_environment"),
    mutant("maintenance/alerting/settings.py", "self.webhook is not None and not _is_private(self.webhook)", "False", "process/test_secrets.py::test_a_token_goes_only_over_tls_or_to_this_machine"),
)
# fmt: on
