-- Reads jobs for which a process waits. If a job has ended, returns it as it is. If it is one of `watched`, returns it in any state. If
-- no job has the id, returns the id alone.
-- One look serves all waits of a process. A job that has not ended costs one probe of jobs_live_id_key.
-- Locks nothing. Zero rows, the normal case: none has ended.
with seen as materialized (
    select w.id
    from unnest(%(job_ids)s::bigint[]) w (id)
    where w.id = any(%(watched)s::bigint[]) or (select l.id from pgqueue.jobs_live l where l.id = w.id) is null
)
select s.id as asked, j.*
from seen s
left join lateral (
    select
        --+ shown j
    from pgqueue.jobs j
    where j.id = s.id
    order by j.finished_at nulls first
    limit 1
) j on true
