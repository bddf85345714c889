-- Stores the hidden gate that waits for all nodes of a workflow that can be undone. When it ends, all nodes are at rest, and begin_undo()
-- looks whether something is to be undone. `ids` are the nodes that have jobs. Only enqueue_workflow() calls it.
-- In the row of this gate, `undoes` is 0. If there are many nodes, each part of them has a gate of its own (-1), so that nodes that end at the same time
-- do not all count at the same row.
create or replace function pgqueue.insert_undo_gate(workflow bigint, ids bigint[])
returns void
language plpgsql
set search_path = pg_catalog, pg_temp
as $function$
declare
    many  constant integer := 200;
    size  constant integer := 100;
    last  integer := (select max(n.rank) from pgqueue.nodes n where n.workflow_id = insert_undo_gate.workflow);
    parts bigint[];
    root  bigint;
begin
    if cardinality(ids) > many then
        parts := array(select nextval('pgqueue.jobs_id_seq') from generate_series(1, (cardinality(ids) + size - 1) / size));
        insert into pgqueue.nodes (id, workflow_id, rank, unmet, is_gate, needs, name, undoes)
        select parts[i], insert_undo_gate.workflow, last + i, least(size, cardinality(ids) - (i - 1) * size), true, 'ended', 'pgqueue.rest.' || i, -1
        from generate_series(1, cardinality(parts)) i;
        insert into pgqueue.dependencies (on_id, node_id)
        select u.id, parts[(u.n - 1) / size + 1] from unnest(ids) with ordinality u (id, n)
        order by 1, 2;
        last := last + cardinality(parts);
    end if;
    root := nextval('pgqueue.jobs_id_seq');
    insert into pgqueue.nodes (id, workflow_id, rank, unmet, is_gate, needs, name, undoes)
    values (root, insert_undo_gate.workflow, last + 1, cardinality(coalesce(parts, ids)), true, 'ended', 'pgqueue.rest', 0);
    insert into pgqueue.dependencies (on_id, node_id) select u.id, root from unnest(coalesce(parts, ids)) u (id) order by 1, 2;
end
$function$;
