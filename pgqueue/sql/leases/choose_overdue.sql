-- Finds the ids of the jobs that the next finish_overdue.sql will finish, at most twice `count`. Uses the indexes jobs_live_overdue_idx and
-- jobs_live_cancel_idx. Locks nothing.
-- Zero rows, the normal case: no job is overdue.
(select l.id
 from pgqueue.jobs_live l
 where l.state <> 'running' and (l.expires_at is not null or l.deadline_at is not null)
   and least(l.expires_at::timestamptz, l.deadline_at::timestamptz) <= statement_timestamp()  -- the index has the same casts
 order by least(l.expires_at::timestamptz, l.deadline_at::timestamptz)
 limit %(count)s::int)
union
(select l.id
 from pgqueue.jobs_live l
 where l.cancel_requested and l.state <> 'running'
 limit %(count)s::int)
