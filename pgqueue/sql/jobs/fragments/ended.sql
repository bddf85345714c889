-- The columns that a job keeps unchanged when it ends. Each statement adds the columns that it sets itself: finished_at, crash_count,
-- cancel_requested, state, progress, result, last_error, last_traceback. The columns that only an unfinished job has are left out:
-- seats_taken, parked, undeclared, waits_for.
j.id, j.worker_id, j.run_at, j.started_at, j.attempt, j.expires_at, j.deadline_at,
--+ lasting j,
--+ documents j
