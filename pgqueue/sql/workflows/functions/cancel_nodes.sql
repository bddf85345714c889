-- Cancels the open nodes of a workflow: jobs that do not run end now, and the workers of the others are asked to stop them. If the workflow
-- was stopped by a failure, leaves alone the nodes that run when others fail or end. Never cancels what undoes the workflow.
-- Skips jobs that other transactions have locked, because most of these are just ending. The leader calls the function again until no such
-- job is open (finish_workflow.sql). If it cannot cancel some jobs, because a trigger of the user raises an error, it cancels the others. If
-- it can cancel none, it raises the error.
-- `at_most` is given for a batch: cancels at most so many jobs, and leaves alone the follow-up jobs of an earlier end of the batch.
-- Returns how many jobs it has tried to cancel or to stop, and how many open jobs are left, the skipped ones included. It counts at most
-- 20,000 of the jobs that are left. The caller then marks the workflow, and ends it if it is a batch. Locks the row of the workflow last,
-- unless it is a batch.
create or replace function pgqueue.cancel_nodes(workflow bigint, stop_reason text, at_most integer, out chosen integer, out left_open integer)
language plpgsql
set search_path = pg_catalog, pg_temp
set plan_cache_mode = force_generic_plan
set enable_seqscan = off
set enable_hashjoin = off
set enable_mergejoin = off
as $function$
declare
    ids     bigint[];
    running bigint[];  -- of these, the jobs that run: their nodes do not end here
begin
    select array_agg(j.id order by j.id), array_agg(j.id) filter (where j.state = 'running') into ids, running
    from (
        select l.id, l.state
        from (select n.id from pgqueue.nodes n
              where n.workflow_id = cancel_nodes.workflow and n.state is null and not n.is_gate and num_nulls(n.undoes) = 1
                and (cancel_nodes.stop_reason = 'workflow_cancelled' and at_most is null or n.needs = 'completed')
              order by n.id) o
        cross join lateral (
            select l.id, l.state from pgqueue.jobs_live l
            where l.id = o.id and (l.state <> 'running' or not l.cancel_requested) for update skip locked) l
        limit at_most
    ) j;
    chosen := coalesce(cardinality(ids), 0);
    if ids is not null then
        begin
            perform pgqueue.stop_jobs(ids, cancel_nodes.stop_reason);
        exception when others or assert_failure then
            ids := pgqueue.try_stops(ids, cancel_nodes.stop_reason);
            if ids = '{}' then
                raise;
            end if;
        end;
        ids := array(select i.id from unnest(ids) i (id) except select r.id from unnest(running) r (id) order by 1);
        perform pgqueue.resolve(ids, array_fill('cancelled'::text, array[cardinality(ids)]), array_fill(null::jsonb, array[cardinality(ids)]),
                                array_fill(null::text, array[cardinality(ids)]), true);
    end if;
    if at_most is null then
        -- While this function waits for the row, a retry can open nodes again, so it counts only when it has the row.
        perform from pgqueue.workflows w where w.id = cancel_nodes.workflow for update;
    end if;
    left_open := (
        select count(*)
        from (select from pgqueue.nodes n
              where n.workflow_id = cancel_nodes.workflow and n.state is null and not n.is_gate and num_nulls(n.undoes) = 1
                and (cancel_nodes.stop_reason = 'workflow_cancelled' and at_most is null or n.needs = 'completed')
              limit 20000) o);
end
$function$;
