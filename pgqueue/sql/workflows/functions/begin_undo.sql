-- Begins to undo a workflow whose nodes have all ended, if at least one of them failed or the workflow was cancelled. Stores one job for
-- each completed node that has an undo. These jobs are a chain: the undo of the node that ended last runs first, and each other undo waits
-- until the one before it has ended, in whatever way. `gate` is the hidden gate that waits for all nodes of the workflow
-- (insert_undo_gate.sql). resolve() calls it in the transaction that ends the gate. So no session ever sees a failed workflow that is at
-- rest although its undo has not begun. The lock on the gate's row lets only one transaction do this, and the column undone_at lets it
-- happen only once.
-- If the jobs cannot be stored, or if another transaction has locked the row of the workflow, leaves the gate to the leader, which
-- calls resolve() again. In either case, the end of the node is written all the same.
-- Runs as the owner, because a role that ends jobs need not be allowed to store nodes. Locks the row of the workflow, never waiting for it.
create or replace function pgqueue.begin_undo(gate bigint)
returns void
language plpgsql
security definer
set search_path = pg_catalog, pg_temp
as $function$
declare
    moment constant timestamptz := clock_timestamp();
    flow   bigint;
    undone bigint[];   -- the nodes to be undone, in this order
    undos  jsonb;      -- an array of their undos, in the same order
    ids    bigint[];
    last   integer;
begin
    select n.workflow_id into flow from pgqueue.nodes n where n.id = begin_undo.gate and n.undoes = 0 and n.state is not null;
    if not found
       or not exists (select from pgqueue.workflows w where w.id = flow and w.undone_at is null)
       or not exists (select from pgqueue.workflows w where w.id = flow and w.stop_reason = 'workflow_cancelled')
          and not exists (
              select from pgqueue.nodes n
              where n.workflow_id = flow and n.undoes is null and not n.is_gate and n.state <> 'completed' and not (n.needs = 'failed' and n.failed = 0)) then
        return;
    end if;
    select array_agg(n.id order by n.ended_at desc, n.id desc), jsonb_agg(n.undo order by n.ended_at desc, n.id desc)
    into undone, undos
    from pgqueue.nodes n
    where n.workflow_id = flow and n.undoes is null and n.undo is not null and n.state = 'completed';
    if undone is null then
        return;
    end if;
    perform from pgqueue.workflows w where w.id = flow and w.undone_at is null for update skip locked;
    if not found then
        perform pgqueue.leave_to_leader(array[begin_undo.gate]);
        return;
    end if;

    begin
        update pgqueue.workflows w set undone_at = moment where w.id = flow;
        ids := array(select nextval('pgqueue.jobs_id_seq') from generate_series(1, cardinality(undone)));
        last := (select max(n.rank) from pgqueue.nodes n where n.workflow_id = flow);
        insert into pgqueue.nodes (id, workflow_id, rank, unmet, needs, name, fills, undoes)
        select ids[u.place], flow, last + u.place, (u.place > 1)::integer, 'ended',
               case when octet_length('undo of ' || n.name) <= 255 then 'undo of ' || n.name else 'undo of node ' || n.rank end,
               (select jsonb_object_agg(r.key, m.id)
                from jsonb_each_text(n.undo -> 'results') r
                join pgqueue.nodes m on m.workflow_id = flow and m.name = r.value and m.undoes is null),
               n.id
        from unnest(undone) with ordinality u (id, place) join pgqueue.nodes n on n.id = u.id
        order by u.place;
        insert into pgqueue.dependencies (on_id, node_id)
        select ids[i], ids[i + 1] from generate_series(1, cardinality(ids) - 1) i;
        perform pgqueue.insert_nodes(
            flow, (select jsonb_agg(u.body - 'results' || '{"unique": false}' order by u.place) from jsonb_array_elements(undos) with ordinality u (body, place)),
            ids, array_fill(true, array[cardinality(ids)]), moment);
        perform pgqueue.resolve(ids[:1], array[null]::text[], array[null]::jsonb[], array[null]::text[]);
    exception
        when others or assert_failure then
            perform pgqueue.leave_to_leader(array[begin_undo.gate], 'The undo of the workflow could not be stored', sqlerrm);
    end;
end
$function$;
