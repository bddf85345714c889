-- Cancels the open nodes of a workflow: jobs that do not run end now, and the workers of the others are asked to stop them. If the workflow
-- was stopped by a failure, leaves alone the nodes that run when others fail or end.
-- Skips jobs that other transactions have locked, because most of these are just ending. The leader calls the function again until no such
-- job is open (finish_workflow.sql).
-- Returns how many open jobs are left, the skipped ones included.
create or replace function pgqueue.cancel_nodes(workflow bigint, stop_reason text)
returns integer
language plpgsql
set search_path = pg_catalog, pg_temp
set plan_cache_mode = force_generic_plan
set enable_seqscan = off
set enable_hashjoin = off
set enable_mergejoin = off
as $function$
declare
    ids     bigint[];
    running bigint[];
    workers bigint[];
begin
    select array_agg(j.id order by j.id) filter (where j.state <> 'running'), array_agg(j.id) filter (where j.state = 'running')
    into ids, running
    from (
        select l.id, l.state
        from (select n.id from pgqueue.nodes n
              where n.workflow_id = cancel_nodes.workflow and n.state is null and not n.is_gate
                and (cancel_nodes.stop_reason = 'workflow_cancelled' or n.needs = 'completed')
              order by n.id) o
        cross join lateral (
            select l.id, l.state from pgqueue.jobs_live l where l.id = o.id for update skip locked) l
    ) j;
    with asked as (
        update pgqueue.jobs_live j set cancel_requested = true where j.id = any(running) and not j.cancel_requested
        returning j.worker_id
    )
    select array_agg(distinct a.worker_id) into workers from asked a;
    perform pgqueue.notify('cancel ' || w.id) from unnest(workers) w (id);
    if ids is not null then
        perform pgqueue.end_jobs(ids, 'cancelled', cancel_nodes.stop_reason);
        perform pgqueue.resolve(ids, array_fill('cancelled'::text, array[cardinality(ids)]), array_fill(null::jsonb, array[cardinality(ids)]),
                                array_fill(null::text, array[cardinality(ids)]));
    end if;
    return (select count(*) from pgqueue.nodes n
            where n.workflow_id = cancel_nodes.workflow and n.state is null and not n.is_gate
              and (cancel_nodes.stop_reason = 'workflow_cancelled' or n.needs = 'completed'));
end
$function$;
