-- Lists the newest events of jobs, the oldest first: enqueues, transitions, completions. `since` is in seconds since 1970, by the server's clock.
-- Of jobs that are enqueued, only those with larger ids than `after_id`, and only unfinished ones, are found; if `after_id` is 0, those that
-- were created at `since` or later. (A job is created at the begin of its transaction, which can lie long before the commit.) Filters that are
-- null filter nothing; `kinds` are reasons or new states. Reads at most `most` events of each kind (functions/recent_events.sql). An event
-- with an error has the documents of its job. Locks nothing.
with bound as materialized (
    select to_timestamp(%(since)s::float8) as since
), events as materialized (
    select e.* from bound b cross join lateral pgqueue.recent_events(b.since, %(most)s::int) e
    union all
    (select j.created_at, j.id, null, 'pending', 'enqueued', 0, null, null
     from bound b, pgqueue.jobs_live j
     where j.id > %(after_id)s::bigint and (%(after_id)s::bigint > 0 or j.created_at >= b.since)
     order by j.id desc
     limit %(most)s::int)
)
select e.at, e.job_id, e.from_state, e.to_state, e.reason, e.attempt, e.worker_id, j.queue::text, j.task::text, e.error, s.*
from events e
left join lateral (select j.queue, j.task from pgqueue.jobs j where j.id = e.job_id limit 1) j on true
left join lateral (
    select
        --+ secret_documents j
    from pgqueue.jobs j where e.error is not null and j.id = e.job_id limit 1
) s on true
where (%(queue)s::text is null or j.queue = %(queue)s::text)
  and (%(task)s::text is null or j.task = %(task)s::text)
  and (%(kinds)s::text[] is null or e.reason = any(%(kinds)s::text[]) or e.to_state = any(%(kinds)s::text[]))
order by e.at, e.job_id
