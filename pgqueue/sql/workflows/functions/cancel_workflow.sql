-- Cancels a workflow or a batch: its open jobs end now, or are asked to stop if they run. Until the last one has ended, no further node is
-- released. No follow-up job of the batch is stored, and no more jobs can be added to it. Of a batch, ends up to 5,000 jobs; the leader
-- ends the rest.
-- If a trigger of the user raises an error for some of the jobs, cancels the others, and the leader tries these again. If that holds for all
-- jobs, raises the error, and nothing is cancelled.
-- What undoes a workflow is not cancelled. When the last open node has ended, the completed nodes are undone (begin_undo.sql).
-- Returns 'cancelled' if nothing is open any longer, 'requested' if jobs still run, or 'ended' if nothing was open; null if there is no
-- such workflow. Of a batch, also returns 'requested' if the leader must look for more jobs, because other transactions add some, or because
-- this transaction has another isolation level than READ COMMITTED (end_batch()).
create or replace function pgqueue.cancel_workflow(workflow bigint)
returns text
language plpgsql
set search_path = pg_catalog, pg_temp
as $function$
declare
    w         record;
    c         record;
    left_open integer;
begin
    select f.kind, f.ended_at into w from pgqueue.workflows f where f.id = workflow;
    if not found then
        return null;
    end if;
    if (case when w.kind = 'batch' then w.ended_at is not null
             else not exists (select from pgqueue.nodes n where n.workflow_id = workflow and n.state is null and n.undoes is null) end) then
        return 'ended';
    end if;
    c := pgqueue.cancel_nodes(workflow, 'workflow_cancelled', 0, case when w.kind = 'batch' then 5000 end);
    if c.stopped = 0 and c.last is null and c.error is not null then
        raise exception using errcode = c.code, message = c.error;
    end if;
    left_open := c.left_open;
    update pgqueue.workflows f
    set stop_reason = 'workflow_cancelled', stopped_at = case when left_open = 0 and f.kind <> 'batch' then clock_timestamp() end,
        sealed_at = case when f.kind = 'batch' then coalesce(f.sealed_at, clock_timestamp()) end
    where f.id = workflow and (f.kind <> 'batch' or f.ended_at is null);
    if not found then
        return 'ended';  -- the batch ended while this function looked for its jobs
    elsif w.kind = 'batch' and not pgqueue.end_batch(workflow) then
        left_open := greatest(left_open, 1);
    end if;
    perform pgqueue.begin_undo(n.id) from pgqueue.nodes n where n.workflow_id = workflow and n.undoes = 0;
    return case left_open when 0 then 'cancelled' else 'requested' end;
end
$function$;
