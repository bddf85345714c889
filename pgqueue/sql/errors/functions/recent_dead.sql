-- Returns the newest dead jobs: up to 1,000 of each task, and up to `most` in all. Uses jobs_dead_task_idx, which also finds the tasks. Locks
-- nothing.
create or replace function pgqueue.recent_dead(most integer)
returns table (id bigint, task text, queue text, finished_at timestamptz, last_error text, last_traceback text)
language sql
stable
set search_path = pg_catalog, pg_temp
as $function$
    with recursive tasks (name) as (
        (select d.task::text from pgqueue.jobs_dead d order by d.task limit 1)
        union all
        select (select d.task::text from pgqueue.jobs_dead d where d.task > t.name order by d.task limit 1) from tasks t where t.name is not null
    )
    select n.id, n.task, n.queue, n.finished_at, n.last_error, n.last_traceback
    from (select t.name from tasks t where t.name is not null limit 1000) t
    cross join lateral (
        select d.id, d.task::text, d.queue::text, d.finished_at, d.last_error, d.last_traceback
        from pgqueue.jobs_dead d where d.task = t.name order by d.finished_at desc limit 1000) n
    order by n.finished_at desc
    limit most
$function$;
