-- Looks at the jobs that enqueue_many has just stored under `ids`. If no worker has reported a job's task yet, writes into the job's
-- `undeclared` which options the job leaves to its task. sync_tasks sets these options when a worker reports the task.
-- Updates only these jobs, by jobs_live_id_key, and no job that is older than the caller's transaction. Runs as the owner, because a role
-- that is allowed to store jobs need not be allowed to update them.
create or replace function pgqueue.mark_undeclared(jobs jsonb, ids bigint[])
returns void
language sql
security definer
set search_path = pg_catalog, pg_temp
set enable_seqscan = off
set enable_hashjoin = off
set enable_mergejoin = off
as $function$
    update pgqueue.jobs_live j
    set undeclared = array(
        select n.name from unnest(array['queue', 'max_attempts', 'priority', 'timeout']) n (name) where not s.body ? n.name)
    from (
        select b.body, b.size, sum(b.size) over (order by b.place) - b.size as before
        from (
            select i.body, i.place,
                   case when i.body ? 'each' then jsonb_array_length(i.body -> 'each') else 1 end as size
            from jsonb_array_elements(jobs) with ordinality as i (body, place)
        ) b
    ) s
    cross join lateral generate_series(1, s.size) as n (place)
    where j.id = ids[s.before + n.place] and j.created_at >= transaction_timestamp() and j.attempt = 0 and j.state in ('pending', 'waiting') and not s.body ? 'declared'
      and not exists (select from pgqueue.tasks t where t.name = s.body ->> 'task')
$function$;
