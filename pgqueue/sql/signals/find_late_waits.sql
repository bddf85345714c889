-- Finds jobs that wait for a signal although the leader should have woken them a minute ago, and jobs that have waited for 30 days without
-- a time-out. Counts at most 10,000 jobs of each kind. Uses jobs_live_timer_idx and checkpoints_pkey. Locks nothing.
-- Returns one row of each kind that there is: (kind, count, id of one of the jobs). Zero rows, the normal case: there are no such jobs.
(select 'late' as kind, count(*) as count, min(j.id) as job_id
 from (select l.id from pgqueue.jobs_live l
       where l.state = 'waiting' and l.waits_for is not null and l.run_at < now() - interval '1 min' limit 10000) j
 having count(*) > 0)
union all
(select 'endless', count(*), min(j.id)
 from (select l.id from pgqueue.jobs_live l
       where l.state = 'waiting' and l.waits_for is not null and l.run_at = --+ no_end
         and exists (select from pgqueue.checkpoints c
                     where c.job_id = l.id and c.kind = 'wait' and c.value ? 'names' and c.at < now() - interval '30 days')
       limit 10000) j
 having count(*) > 0)
