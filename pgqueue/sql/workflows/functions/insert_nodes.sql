-- Inserts the jobs of a workflow under `ids`, with the options that their tasks declare. Those of which `waits` is true are waiting, the
-- others pending. Wakes the workers for those that are due. Only enqueue_workflow() calls it.
create or replace function pgqueue.insert_nodes(workflow bigint, jobs jsonb, ids bigint[], waits boolean[], moment timestamptz)
returns void
language plpgsql
set search_path = pg_catalog, pg_temp
set plan_cache_mode = force_generic_plan
as $function$
declare
    bare constant jsonb := jobs;
    asked record := pgqueue.check_jobs(jobs);
    queues text[];  -- in which jobs are due now
begin
    if asked.undeclared then
        jobs := pgqueue.with_declared(jobs);
        perform pgqueue.check_jobs(jobs);
    end if;
    with inserted as (
        insert into pgqueue.jobs_live as l
            (id, workflow_id, state, task, args, queue, priority, created_at, run_at, max_attempts, timeout,
             concurrency_key, weight, ordering, tags, meta, trace_context, expires_at, deadline_at)
        select ids[i.item], workflow, case when waits[i.item] then 'waiting' else 'pending' end, i.task, i.args, i.queue, i.priority, moment,
               i.run_at, i.max_attempts, i.timeout, i.concurrency_key, i.weight, i.ordering, i.tags, i.meta, i.trace_context, i.expires_at,
               i.deadline_at
        from pgqueue.job_items(jobs, null, moment) i
        returning l.queue, l.state, l.run_at
    )
    select array_agg(distinct i.queue) into queues
    from inserted i where i.state = 'pending' and i.run_at <= moment + interval '1 second';
    if asked.undeclared then
        perform pgqueue.mark_undeclared(bare, ids);
    end if;
    perform pgqueue.wake(q.queue) from unnest(queues) q (queue);
end
$function$;
