-- Finishes overdue jobs of all queues, as functions/finish_overdue.sql says: at most `count` jobs that have expired or are past their
-- deadline, and at most `count` jobs that were asked to stop.
-- Uses the indexes jobs_live_overdue_idx and jobs_live_cancel_idx. Locks the jobs, skipping jobs that are being edited or cancelled.
-- If `only` is not null, finishes only jobs with these ids.
-- Returns (id, task, state, reason, queue). Zero rows, the normal case: no job is overdue.
with overdue as materialized (
    select l.id, l.queue
    from pgqueue.jobs_live l
    where l.state <> 'running' and (%(only)s::bigint[] is null or l.id = any(%(only)s::bigint[]))
      and (l.expires_at is not null or l.deadline_at is not null)
      and least(l.expires_at::timestamptz, l.deadline_at::timestamptz) <= statement_timestamp()  -- the index has the same casts
    order by least(l.expires_at::timestamptz, l.deadline_at::timestamptz)
    limit %(count)s::int
    for update skip locked
), asked as materialized (
    select l.id, l.queue
    from pgqueue.jobs_live l
    where l.cancel_requested and l.state <> 'running' and (%(only)s::bigint[] is null or l.id = any(%(only)s::bigint[]))
    limit %(count)s::int
    for update skip locked
), waited as materialized (
    select --+ is_waited
)
select f.id, f.task, f.state, f.reason, coalesce((select o.queue from overdue o where o.id = f.id), (select a.queue from asked a where a.id = f.id)),
       case when (select w.now from waited w) then pg_notify('pgqueue_finished', f.id::text)::text end
from (select array(select o.id from overdue o union select a.id from asked a) as ids) i
cross join lateral pgqueue.finish_overdue(i.ids, statement_timestamp()) f
where i.ids <> '{}'
