-- The work of mend_nodes.sql. Resolves the first such node with the state that its job has, or as cancelled if there is no job.
-- Locks the node, skipping a locked one, then what resolve() locks.
create or replace function pgqueue.mend_nodes(workflow bigint, node bigint, count integer,
    out last_workflow bigint, out last_node bigint, out mended integer)
language plpgsql
set search_path = pg_catalog, pg_temp
as $function$
declare
    n record;
begin
    mended := 0;
    for n in
        select o.workflow_id, o.id,
               o.state is null and not o.is_gate and not exists (select from pgqueue.jobs_live l where l.id = o.id) as is_jobless
        from pgqueue.nodes o where o.id > mend_nodes.node order by o.id limit mend_nodes.count
    loop
        last_workflow := n.workflow_id;
        last_node := n.id;
        continue when not n.is_jobless;
        perform from pgqueue.nodes o where o.id = n.id and o.state is null for update skip locked;
        continue when not found;
        perform pgqueue.resolve(array[n.id], array[coalesce(j.state, 'cancelled')], array[j.result],
                                array[coalesce(j.last_error, case when j.state is null then 'The row of its job was deleted.' end)])
        from (select) one
        left join lateral (select j.state, j.result, j.last_error from pgqueue.jobs j
                           where j.id = n.id and j.state in ('completed', 'cancelled', 'dead') limit 1) j on true;
        mended := 1;
        exit;  -- the order of locks holds only within one call of resolve()
    end loop;
end
$function$;
