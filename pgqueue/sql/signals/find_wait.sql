-- Finds out what an unfinished job waits for, and whether a signal with this name and key was already sent to it. `pgq jobs signal` asks this
-- before it sends the signal. Uses jobs_live_id_key and signals_key. Locks nothing.
-- Returns one row: the state of the job, the names of the signals that it waits for (null: none; one of them is enough), and whether the signal
-- is there. Zero rows: there is no such job among the unfinished ones.
select l.state, l.waits_for::text[],
       exists (select from pgqueue.signals s where s.job_id = l.id and s.name = %(name)s::text and s.key = %(key)s::text)
from pgqueue.jobs_live l
where l.id = %(job_id)s::bigint
