-- Releases these nodes, or, if `end_state` is given, ends them: release_nodes() and end_nodes() do it for all of them together. If that fails
-- for one node, because a trigger of the user raises an error, or because a CHECK of the user does not accept the results in its arguments,
-- the others go on nevertheless. So the end of the node before them is kept. Otherwise its handler, which has completed, would run again,
-- and its effects would happen twice. The refused node is left to the leader.
-- To find the refused nodes, tries one node, then the next two, then four, and so on. After each error, begins again with one node. So each
-- error is followed by a node that goes on, or by one that is known to be refused.
-- A trigger can wait for a lock before it fails, and the nodes are locked. So if two seconds have passed since the statement began, the next
-- error leaves all further nodes to the leader, without a try. A cancel of the statement is not caught. OTHERS does not include
-- assert_failure, which an ASSERT in a trigger raises.
-- Only resolve() calls it, with the nodes locked. Returns what release_nodes() or end_nodes() returns. Locks what these lock.
create or replace function pgqueue.move_nodes(ids bigint[], end_state text)
returns bigint[]
language plpgsql
as $function$
declare
    until    constant timestamptz := statement_timestamp() + interval '2 s';
    what     constant text := case when end_state is null then 'Its job could not be released' else 'Its job could not be ended' end;
    position integer := 1;
    size     integer := cardinality(ids);
    tried    bigint[];
    moved    bigint[];
begin
    while position <= cardinality(ids) loop
        tried := ids[position:position + size - 1];
        begin
            moved := moved || case when end_state is null then pgqueue.release_nodes(tried) else pgqueue.end_nodes(tried, end_state) end;
            position := position + size;
            size := size * 2;
        exception when others or assert_failure then
            size := 1;
            if cardinality(tried) = 1 then
                perform pgqueue.leave_to_leader(tried, what, sqlerrm);
                position := position + 1;
            end if;
            if clock_timestamp() >= until then
                perform pgqueue.leave_to_leader(ids[position:], 'The leader has not tried it yet, because another node took long', sqlerrm);
                exit;
            end if;
        end;
    end loop;
    return moved;
end
$function$;
