-- Cancels the open nodes of a workflow: jobs that do not run end now, and the workers of the others are asked to stop them. If the workflow
-- was stopped by a failure, leaves alone the nodes that run when others fail or end. Never cancels what undoes the workflow. Of a batch,
-- leaves alone the follow-up jobs of an earlier end.
-- Begins behind the node `behind` (0: with the first one), and cancels at most `at_most` jobs (null: all).
-- Skips jobs that other transactions have locked, because most of these are just ending. The leader calls the function again until no such
-- job is open (finish_workflow.sql). If it cannot cancel some jobs, because a trigger of the user raises an error, it cancels the others. It
-- looks for them and for as long as move_nodes() does, but tries at least one job alone.
-- Returns `last`, the last node that it has tried (null: it has tried all); how many jobs it `stopped`; how many open jobs are left, also
-- those before `behind` and the skipped ones, but at most 20,000; and the last error, with its code.
-- The caller then marks the workflow, and ends it if it is a batch. Locks the row of the workflow last, unless it is a batch.
create or replace function pgqueue.cancel_nodes(workflow bigint, stop_reason text, behind bigint, at_most integer,
    out last bigint, out stopped integer, out left_open integer, out error text, out code text)
language plpgsql
set search_path = pg_catalog, pg_temp
set plan_cache_mode = force_generic_plan
set enable_seqscan = off
set enable_hashjoin = off
set enable_mergejoin = off
as $function$
declare
    until    constant timestamptz := statement_timestamp() + interval '2 s';
    is_batch constant boolean := exists (select from pgqueue.workflows w where w.id = workflow and w.kind = 'batch');
    ids      bigint[];
    running  bigint[];  -- of these, the jobs that run: their nodes do not end here
    position integer := 1;
    size     integer;
    tried    bigint[];
    done     bigint[] := '{}';
begin
    select coalesce(array_agg(j.id order by j.id), '{}'), array_agg(j.id) filter (where j.state = 'running') into ids, running
    from (
        select l.id, l.state
        from (select n.id from pgqueue.nodes n
              where n.workflow_id = cancel_nodes.workflow and n.id > cancel_nodes.behind
                and n.state is null and not n.is_gate and num_nulls(n.undoes) = 1
                and (cancel_nodes.stop_reason = 'workflow_cancelled' and not is_batch or n.needs = 'completed')
              order by n.id) o
        cross join lateral (
            select l.id, l.state from pgqueue.jobs_live l
            where l.id = o.id and (l.state <> 'running' or not l.cancel_requested) for update skip locked) l
        limit at_most
    ) j;
    size := cardinality(ids);
    while position <= cardinality(ids) loop
        tried := ids[position:position + size - 1];
        begin
            perform pgqueue.stop_jobs(tried, cancel_nodes.stop_reason);
            done := done || tried;
            position := position + cardinality(tried);
            size := size * 2;
        exception when others or assert_failure then
            error := sqlerrm;
            code := sqlstate;
            size := 1;
            if cardinality(tried) = 1 then
                position := position + 1;
            end if;
            exit when position > 1 and clock_timestamp() >= until;
        end;
    end loop;
    last := case when position <= cardinality(ids) or cardinality(ids) = at_most then ids[position - 1] end;
    stopped := cardinality(done);
    if stopped > 0 then
        done := array(select i.id from unnest(done) i (id) except select r.id from unnest(running) r (id) order by 1);
        perform pgqueue.resolve(done, array_fill('cancelled'::text, array[cardinality(done)]), array_fill(null::jsonb, array[cardinality(done)]),
                                array_fill(null::text, array[cardinality(done)]), true);
    end if;
    if not is_batch then
        -- While this function waits for the row, a retry can open nodes again, so it counts only when it has the row.
        perform from pgqueue.workflows w where w.id = cancel_nodes.workflow for update;
    end if;
    left_open := (
        select count(*)
        from (select from pgqueue.nodes n
              where n.workflow_id = cancel_nodes.workflow and n.state is null and not n.is_gate and num_nulls(n.undoes) = 1
                and (cancel_nodes.stop_reason = 'workflow_cancelled' and not is_batch or n.needs = 'completed')
              limit 20000) o);
end
$function$;
