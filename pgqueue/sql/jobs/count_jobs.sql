-- How many jobs match a filter (as in list_jobs.sql), by what is asked for. Reads every job of the states asked for. Locks nothing.
-- A job without tags counts under a null tag, one with two tags twice.
select case when %(by_task)s::boolean then j.task::text end,
       case when %(by_queue)s::boolean then j.queue::text end,
       case when %(by_state)s::boolean then j.state::text end,
       t.tag, count(*)
from pgqueue.jobs j
left join lateral unnest(j.tags) t (tag) on %(by_tag)s::boolean
where (%(states)s::text[] is null or j.state = any(%(states)s::text[]))
  and (%(queue)s::text is null or j.queue = %(queue)s::text)
  and (%(task)s::text is null or j.task = %(task)s::text)
  and (%(tag)s::text is null or %(tag)s::text = any(j.tags))
  and (%(error)s::text is null or strpos(lower(j.last_error), lower(%(error)s::text)) > 0)
  and (%(unique_key)s::text is null or j.unique_key = %(unique_key)s::text)
  and (%(concurrency_key)s::text is null or j.concurrency_key = %(concurrency_key)s::text)
  and (%(args)s::jsonb is null or j.args @> %(args)s::jsonb)
  and (%(idempotency_key)s::text is null
       or j.id in (select k.job_id from pgqueue.idempotency_keys k where k.key = %(idempotency_key)s::text))
group by 1, 2, 3, 4
order by 5 desc, 1, 2, 3, 4
