"""Mutants of sleeps, and of waits for signals."""

from __future__ import annotations

from tests.mutants.mutant import Mutant, mutant

SLEEP, SIGNALS, WAITING = "stages/test_sleep.py", "stages/test_signals.py", "stages/test_waiting_jobs.py"
RACES, MODEL = "races/test_signal_races.py", "stages/test_signal_model.py"

# fmt: off
OF_WAITS: tuple[Mutant, ...] = (
    # ---------------------------------------------------------------- SQL
    mutant("sql/signals/functions/deliver_signal.sql", "where j.id = job for no key update;", "where j.id = job;",
           f"{RACES}::test_a_signal_during_a_suspension_is_not_missed"),
    mutant("sql/signals/functions/deliver_signal.sql", " and deliver_signal.name = any(l.waits_for)", "",
           f"{SIGNALS}::test_a_signal_to_another_job_or_of_another_name_wakes_no_job"),
    mutant("sql/signals/functions/signal.sql", "now_is not in ('pending', 'running', 'retrying', 'waiting')", "true",
           f"{RACES}::test_a_call_that_looks_for_a_dead_job_while_it_is_revived_finds_it_unfinished"),
    mutant("sql/jobs/functions/cancel.sql", "now_is not in ('pending', 'running', 'retrying', 'waiting')", "true",
           f"{RACES}::test_a_call_that_looks_for_a_dead_job_while_it_is_revived_finds_it_unfinished"),
    mutant("sql/signals/functions/suspend.sql", "when a.has_signal then 'signalled' ", "when false then 'signalled' ",
           f"{RACES}::test_a_suspension_during_the_commit_of_a_signal_does_not_miss_it"),
    mutant("sql/signals/functions/suspend.sql", "(l.lease_id = i.lease_id) is true and ", "",
           f"{WAITING}::test_an_attempt_without_the_lease_suspends_nothing_and_takes_nothing"),
    mutant("sql/signals/functions/suspend.sql", "(l.worker_id = worker) is true and ", "",
           f"{WAITING}::test_an_attempt_without_the_lease_suspends_nothing_and_takes_nothing"),
    mutant("sql/signals/functions/suspend.sql", "case when v.has_checkpoint then 0 else j.attempt - 1 end", "j.attempt",
           f"{SLEEP}::test_a_handler_can_sleep_more_often_than_it_has_attempts"),
    mutant("sql/signals/functions/suspend.sql", "    if asked is not null then\n", "    if false then\n",
           f"{WAITING}::test_a_job_that_was_asked_to_stop_is_cancelled_instead_of_suspended"),
    mutant("sql/signals/functions/suspend.sql", "seats_taken = null,", "seats_taken = j.seats_taken,",
           f"{WAITING}::test_a_suspended_job_gives_its_seats_back"),
    mutant("sql/signals/functions/take_signals.sql", "order by o.id limit 1", "order by o.id desc limit 1",
           f"{SIGNALS}::test_each_wait_gets_the_oldest_signal_that_no_wait_has_taken"),
    mutant("sql/signals/functions/take_signals.sql", " and o.taken_by is null", "",
           f"{SIGNALS}::test_each_wait_gets_the_oldest_signal_that_no_wait_has_taken"),
    mutant("sql/signals/functions/take_signals.sql", "if found and not (known.kind = 'wait' and known.value ? 'names') then", "if false then",
           f"{SIGNALS}::test_a_time_out_is_stored_so_that_a_signal_that_comes_later_changes_nothing"),
    mutant("sql/signals/functions/take_signals.sql", "(known.value ->> 'until')::timestamptz <= clock_timestamp()", "known.value ? 'until'", MODEL),
    mutant("sql/signals/time_out_waits.sql", " and l.run_at <= statement_timestamp()", "", MODEL),
    mutant("sql/signals/purge_signals.sql", " and s.at < clock_timestamp() - interval '1 hour'", "",
           f"{WAITING}::test_only_signals_of_jobs_that_are_gone_are_purged"),
    mutant("sql/workflows/functions/release_nodes.sql", " and l.waits_for is null for update", " for update",
           f"{WAITING}::test_a_look_at_a_node_that_waits_for_a_signal_does_not_release_it"),
    mutant("sql/jobs/functions/edit.sql", "    if edited.run_at <> former then\n", "    if false then\n",
           f"{WAITING}::test_an_edit_moves_the_time_out_and_other_changes_leave_it"),
    # ---------------------------------------------------------------- Python
    mutant("worker/steps.py", "                    if (future := self._under_way.idle()) is None:\n                        break\n", "                    break\n",
           f"{SLEEP}::test_steps_beside_a_sleep_are_stored_before_the_job_is_suspended"),
    mutant("worker/steps.py", "            self._attempt.withdraw(request)\n", "            pass\n",
           f"{SLEEP}::test_a_sleep_that_the_handler_gives_up_suspends_nothing"),
    mutant("worker/waits.py", "            if left <= 0:\n", "            if True:\n", f"{SLEEP}::test_a_job_that_wakes_too_early_sleeps_for_the_rest"),
    mutant("worker/running/conclusions.py", "        return swallowed(spec)\n    if value", "        pass\n    if value",
           f"{SLEEP}::test_a_handler_that_returns_although_it_is_suspended_makes_its_job_dead"),
    mutant("worker/running/conclusions.py", 'outcome.state == "waiting" or outcome.delay < left', "True",
           f"{SLEEP}::test_a_job_that_would_sleep_beyond_its_deadline_is_dead_at_once"),
    mutant("worker/running/call.py", " and not is_suspension(error)", "", f"{SLEEP}::test_a_span_is_not_marked_as_failed_by_a_suspension"),
    mutant("worker/attempt.py", "        if self.is_suspending:\n            raise Suspended\n", "",
           f"{SLEEP}::test_no_step_is_taken_after_a_suspension_was_swallowed"),
)
