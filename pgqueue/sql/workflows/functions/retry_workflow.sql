-- Runs a node of a workflow again, with everything behind it that did not complete: `select pgqueue.retry_workflow(7, 'paid')`. Without a
-- node, runs all nodes again that did not complete. Nodes that completed keep their results, also those that ran because of the failure.
-- A node that completed has had its effects, so it runs again only with `again => true`. A cancelled or stopped workflow goes on. Of a
-- batch, all members run again that did not complete, as retry_members() says.
-- If the workflow consists of the children of a job that is dead or cancelled, this parent is revived in the same transaction. Otherwise the
-- leader would cancel the children again, because their parent has ended (leave_parents.sql).
-- Returns how many nodes are open again. Raises PQ404 if there is no such node, if it is a group, if it is still open, if it completed
-- (unless `again` is given), if it waits for a node that did not complete, if the row of a job was deleted after its retention, if the
-- workflow was undone, or if the parent has completed or cannot be revived.
-- Locks nodes by ascending id, also those behind the parents, then the rows of the finished jobs, then the row of the workflow.
create or replace function pgqueue.retry_workflow(workflow bigint, node text default null, again boolean default false)
returns integer
language plpgsql
set search_path = pg_catalog, pg_temp
as $function$
declare
    chosen record;
    before record;
    wrong  text;
    ids    bigint[];
begin
    if not exists (select from pgqueue.workflows w where w.id = retry_workflow.workflow) then
        wrong := format('there is no workflow %s', coalesce(workflow::text, 'null'));
    elsif node is null and exists (select from pgqueue.workflows w where w.id = retry_workflow.workflow and w.kind = 'batch') then
        return (pgqueue.retry_members(workflow, 0, null)).retried;
    elsif node is null then
        ids := array(select n.id from pgqueue.nodes n where n.workflow_id = retry_workflow.workflow and n.state <> 'completed' and n.undoes is null);
    else
        select n.id, n.is_gate, n.state, n.needs into chosen
        from pgqueue.nodes n where n.workflow_id = retry_workflow.workflow and n.name = retry_workflow.node and n.undoes is null;
        if not found then
            wrong := format('workflow %s has no node %s', workflow, node);
        elsif chosen.is_gate then
            wrong := format('node %s is a group: retry one of its nodes', node);
        elsif chosen.state is null then
            wrong := format('node %s has not ended', node);
        elsif chosen.state = 'completed' and again is not true then
            wrong := format('node %s has completed: to let its effects happen once more, give again => true, or --again to pgq', node);
        elsif chosen.needs = 'completed' then
            select b.name, b.state into before
            from pgqueue.dependencies d join pgqueue.nodes b on b.id = d.on_id
            where d.node_id = chosen.id and b.state <> 'completed' order by b.id limit 1;
            if found then
                wrong := format('node %s waits for node %s, which is %s: retry %s', node, before.name, before.state, before.name);
            end if;
        end if;
        ids := array[chosen.id];
    end if;
    if wrong is not null then
        raise exception using errcode = 'PQ404', message = 'pgqueue: ' || wrong;
    end if;
    return pgqueue.retry_nodes(workflow, ids);
end
$function$;
