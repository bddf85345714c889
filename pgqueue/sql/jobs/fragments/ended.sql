-- The columns that a job takes along unchanged when it ends. Each statement adds those that it sets itself: finished_at, crash_count,
-- cancel_requested, state, progress, result, last_error, last_traceback. What only a live job has stays behind: seats_taken, parked,
-- undeclared.
j.id, j.worker_id, j.run_at, j.started_at, j.attempt, j.expires_at, j.deadline_at,
--+ lasting j,
--+ documents j
