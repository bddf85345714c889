-- Cancels what is open of the first workflow or batch with an id greater than `after` that is being stopped: of a batch, up to 5,000 jobs.
-- If nothing is open any longer, marks the workflow as stopped. Locks what cancel_nodes() locks, then the row of the workflow.
-- Returns the id after which to look next, which leads to the same batch if more of its jobs are to be cancelled. Null: there is none.
create or replace function pgqueue.finish_workflow(after bigint)
returns bigint
language plpgsql
set search_path = pg_catalog, pg_temp
as $function$
declare
    at_most  constant integer := 5000;
    stopping record;
    c        record;
begin
    select w.id, w.stop_reason, w.kind into stopping
    from pgqueue.workflows w
    where w.stop_reason is not null and w.stopped_at is null and w.id > finish_workflow.after
    order by w.id limit 1;
    if not found then
        return null;
    end if;
    c := pgqueue.cancel_nodes(stopping.id, stopping.stop_reason, case when stopping.kind = 'batch' then at_most end);
    if stopping.kind = 'batch' then
        perform pgqueue.end_batch(stopping.id);
    elsif c.left_open = 0 then
        update pgqueue.workflows w set stopped_at = clock_timestamp() where w.id = stopping.id and w.stop_reason = stopping.stop_reason;
        perform pgqueue.begin_undo(n.id) from pgqueue.nodes n where n.workflow_id = stopping.id and n.undoes = 0;  -- it ended before the cancel committed
    end if;
    return stopping.id - (stopping.kind = 'batch' and c.chosen = at_most and c.left_open > 0)::integer;
end
$function$;
