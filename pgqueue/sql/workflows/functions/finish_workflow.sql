-- Cancels what is open of the first workflow with an id greater than `after` that is being stopped. If nothing is open any longer, marks
-- the workflow as stopped. Locks what cancel_nodes() locks, then the row of the workflow. Returns the workflow's id; null: there is none.
create or replace function pgqueue.finish_workflow(after bigint)
returns bigint
language plpgsql
set search_path = pg_catalog, pg_temp
as $function$
declare
    stopping record;
begin
    select w.id, w.stop_reason into stopping
    from pgqueue.workflows w
    where w.stop_reason is not null and w.stopped_at is null and w.id > finish_workflow.after
    order by w.id limit 1;
    if found and pgqueue.cancel_nodes(stopping.id, stopping.stop_reason) = 0 then
        update pgqueue.workflows w set stopped_at = clock_timestamp() where w.id = stopping.id and w.stop_reason = stopping.stop_reason;
    end if;
    return stopping.id;
end
$function$;
