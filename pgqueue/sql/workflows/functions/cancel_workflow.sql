-- Cancels a workflow: its open jobs end now, or are asked to stop if they run. Until the last one has ended, no further node is released.
-- Returns 'cancelled' if nothing is open any longer, 'requested' if jobs still run, or 'ended' if nothing was open; null if there is no
-- such workflow.
create or replace function pgqueue.cancel_workflow(workflow bigint)
returns text
language plpgsql
set search_path = pg_catalog, pg_temp
as $function$
declare
    left_open integer;
begin
    if not exists (select from pgqueue.workflows w where w.id = workflow) then
        return null;
    end if;
    if not exists (select from pgqueue.nodes n where n.workflow_id = workflow and n.state is null) then
        return 'ended';
    end if;
    left_open := pgqueue.cancel_nodes(workflow, 'workflow_cancelled');
    update pgqueue.workflows w
    set stop_reason = 'workflow_cancelled', stopped_at = case when left_open = 0 then clock_timestamp() end
    where w.id = workflow;
    return case left_open when 0 then 'cancelled' else 'requested' end;
end
$function$;
