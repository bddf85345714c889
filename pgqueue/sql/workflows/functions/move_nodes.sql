-- Releases these nodes, or, if `end_state` is given, ends them: release_nodes() and end_nodes() do it for all of them together. If that fails
-- for one node, because a trigger of the user raises an error, or because a CHECK of the user does not accept the results in its arguments,
-- the others go on nevertheless: tries each half of the nodes, each quarter, and so on. So the end of the node before them is kept.
-- Otherwise its handler, which has completed, would run again, and its effects would happen twice.
-- A refused node stays open. It gets the error, which `pgq why` and `pgq doctor` show, and a row in `unresolved`, so the leader looks at it
-- again. It does not die, because that would cancel all behind it and undo the workflow. In most cases, the cause is not in the job: a person
-- corrects the trigger, and then the node goes on within two seconds.
-- Tries no longer than two seconds after the statement began, because a trigger can have waited for a lock, and the nodes are locked. Then
-- leaves the rest to the leader, without an error. A cancel of the statement is not caught. OTHERS does not include assert_failure, which an
-- ASSERT in a trigger raises.
-- Only resolve() calls it, with the nodes locked. Returns what release_nodes() or end_nodes() returns. Locks what these lock.
create or replace function pgqueue.move_nodes(ids bigint[], end_state text)
returns bigint[]
language plpgsql
as $function$
declare
    half  constant integer := cardinality(ids) / 2;
    until constant timestamptz := statement_timestamp() + interval '2 s';
    wrong text;
    rest  bigint[] := ids;
    moved bigint[];
begin
    if end_state is null then
        return pgqueue.release_nodes(ids);
    end if;
    return pgqueue.end_nodes(ids, end_state);
exception
    when others or assert_failure then
        wrong := left(sqlerrm, 10000);
        if half > 0 and clock_timestamp() < until then
            moved := pgqueue.move_nodes(ids[:half], end_state);
            rest := ids[half + 1:];
            if clock_timestamp() < until then
                return moved || pgqueue.move_nodes(rest, end_state);
            end if;
        end if;
        insert into pgqueue.unresolved (node_id) select r.id from unnest(rest) r (id);
        if half = 0 then
            update pgqueue.nodes n
            set error = format('Left to the leader: its job could not be %s: %s', case when end_state is null then 'released' else 'ended' end,
                               wrong)
            where n.id = ids[1];
        end if;
        return moved;
end
$function$;
