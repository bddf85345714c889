-- Counts what an action would do: the jobs that match a filter, or have one of these ids, by their state and the reason for which act() would
-- refuse them (null: it would not). Looks at no more than `most` jobs; if it finds so many, there can be more.
-- Reads until `most` rows match. Locks nothing. Zero rows: no job matches.
with chosen as materialized (
    select j.id, j.state, j.workflow_id is not null as is_node, j.waits_for, j.task, j.unique_key
    from pgqueue.jobs j
    where (%(job_ids)s::bigint[] is null or j.id = any(%(job_ids)s::bigint[]))
      and --+ matching j
    limit %(most)s::int
)
select c.state,
       coalesce(pgqueue.refusal(%(action)s::text, c.state, c.is_node, c.waits_for),
                case when %(action)s::text = 'retry' and c.unique_key is not null
                          and exists (select from pgqueue.jobs_live l where l.task = c.task and l.unique_key = c.unique_key)
                     then 'unique_key' end) as refused,
       count(*)
from chosen c
group by 1, 2
order by 3 desc, 1, 2
