-- Returns the ids of dead jobs whose error has a fingerprint, the newest first, among the dead jobs that functions/recent_dead.sql reads. Locks
-- nothing. Zero rows: there is no such job.
select d.id
from pgqueue.recent_dead(%(most)s::int) d
where d.last_error is not null and pgqueue.fingerprint(d.last_error, d.last_traceback) = %(fingerprint)s::text
order by d.finished_at desc
