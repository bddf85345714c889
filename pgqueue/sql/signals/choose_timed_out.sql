-- Finds the ids of the jobs that the next time_out_waits.sql makes pending, at most `count`. Uses jobs_live_timer_idx. Locks nothing.
-- Zero rows, the normal case: no time-out has passed.
select l.id
from pgqueue.jobs_live l
where l.state = 'waiting' and l.waits_for is not null and l.run_at <= statement_timestamp()
order by l.run_at
limit %(count)s::int
