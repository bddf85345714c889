-- Whether a job is due and nothing forbids its start: it was not asked to stop, has not expired, and is not past its deadline.
-- `moment` is a variable of the function that uses this fragment.
j.run_at <= moment and not j.cancel_requested and (least(j.expires_at, j.deadline_at) > moment) is not false
