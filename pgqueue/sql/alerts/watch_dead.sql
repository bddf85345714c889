-- Finds tasks with dead jobs that an alert must report. If the task has an open alert, that alert must report all jobs that died since its
-- first_at. Otherwise a new alert must report the jobs that died after the task's last alert was resolved, but not longer than an hour ago.
-- Uses a loose index scan of jobs_dead_task_idx: one probe for each task, and at most 1000 index entries to count if the task has such
-- jobs.
-- Leaves out rows whose time of death is in the future or before 2000, because a user's SQL can have written such a time.
-- Returns (task; queue, id and error of the job that died last; how many died; when the first of them died; the documents of the job that
-- died last). Locks nothing. Zero rows: no
-- task has such jobs.
with recursive tasks as (
    (select d.task::text from pgqueue.jobs_dead d order by d.task limit 1)
    union all
    select next.task
    from tasks s
    cross join lateral (
        select d.task::text from pgqueue.jobs_dead d where d.task > s.task order by d.task limit 1
    ) next
)
select t.task, newest.queue, newest.id, newest.last_error, news.count, news.first_at, s.*
from tasks t
cross join lateral (
    select coalesce(min(a.first_at) filter (where a.resolved_at is null),
                    greatest(max(a.resolved_at), clock_timestamp() - interval '1 hour')) as at
    from pgqueue.alerts a where a.kind = 'dead' and a.subject = t.task
) since
cross join lateral (
    select d.id, d.queue, d.last_error from pgqueue.jobs_dead d
    where d.task = t.task and d.finished_at <= now() order by d.finished_at desc limit 1
) newest
cross join lateral (
    select count(*)::int as count, min(n.finished_at) as first_at
    from (select d.finished_at from pgqueue.jobs_dead d
          where d.task = t.task and d.finished_at between greatest(since.at, '2000-01-01 00:00+00') and now() order by d.finished_at desc limit 1000) n
) news
left join lateral (
    select
        --+ secret_documents j
    from pgqueue.jobs j where news.count > 0 and j.id = newest.id limit 1
) s on true
where news.count > 0
