-- Reads jobs that are waited for: those that have ended, as they are; those of `watched`, in any state; and for an id that no job has,
-- that id alone. One look serves all who wait in a process. A job that has not ended costs one probe of jobs_live_id_key.
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
