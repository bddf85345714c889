-- Gives adopted jobs the attempts that they have had in the other system, but leaves each job at least one attempt.
-- Called in the transaction that stores the jobs, so it waits for no lock. Uses jobs_live_id_key. Zero rows: none of the jobs exists.
update pgqueue.jobs_live j
set attempt = least(a.attempt, j.max_attempts - 1)
from unnest(%(job_ids)s::bigint[], %(attempts)s::integer[]) as a (id, attempt)
where j.id = a.id
returning j.id
