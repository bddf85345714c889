-- Whether a job is due and nothing forbids its start: it was not asked to stop, has not expired, and is not past its deadline.
-- Also requires that the worker accepts the version of the job's checkpoints, as claim.sql does.
-- `moment` and `tasks` are variables of the function that uses this fragment.
j.run_at <= moment and not j.cancel_requested and (least(j.expires_at, j.deadline_at) > moment) is not false
and (j.version is null or j.task || '@' || j.version = any(tasks))
