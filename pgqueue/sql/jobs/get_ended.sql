-- Reads jobs for which a process waits. Returns each of these jobs that has ended, and those of `watched` in any state. For an id that no
-- job has, returns a row with only the id.
-- One call serves all waits of a process. A job that has not ended costs only one probe of jobs_live_id_key.
-- Locks nothing. Zero rows, the normal case: no job has ended.
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
