-- Cancels what is open of the first workflow or batch with an id greater than `after` that is being stopped, behind the node `behind`: of a
-- batch, up to `at_most` jobs. If nothing is open any longer, marks the workflow as stopped. Locks what cancel_nodes() locks, then the row of
-- the workflow.
-- Returns the id of the workflow (null: there is none), the node behind which to go on (null: all were tried), and the error with which the
-- database refused some jobs.
create or replace function pgqueue.finish_workflow(after bigint, behind bigint, at_most integer, out workflow bigint, out last bigint, out error text)
language plpgsql
set search_path = pg_catalog, pg_temp
as $function$
declare
    stopping record;
    c        record;
begin
    select w.id, w.stop_reason, w.kind into stopping
    from pgqueue.workflows w
    where w.stop_reason is not null and w.stopped_at is null and w.id > finish_workflow.after
    order by w.id limit 1;
    if not found then
        return;
    end if;
    c := pgqueue.cancel_nodes(stopping.id, stopping.stop_reason, behind, case when stopping.kind = 'batch' then at_most end);
    if stopping.kind = 'batch' then
        perform pgqueue.end_batch(stopping.id);
    elsif c.left_open = 0 then
        update pgqueue.workflows w set stopped_at = clock_timestamp() where w.id = stopping.id and w.stop_reason = stopping.stop_reason;
        perform pgqueue.begin_undo(n.id) from pgqueue.nodes n where n.workflow_id = stopping.id and n.undoes = 0;  -- it ended before the cancel committed
    end if;
    workflow := stopping.id;
    last := c.last;
    error := c.error;
end
$function$;
