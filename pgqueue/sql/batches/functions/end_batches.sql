-- Ends the batches to which these parts belong, if they were the last ones. If a follow-up job cannot be stored, because a trigger of the
-- user raises an error, the end of the members is kept, the part gets the error, and the leader tries to end the batch again (`unresolved`).
-- Only resolve() calls it, with the parts locked. Locks the rows of the batches, by ascending id.
create or replace function pgqueue.end_batches(parts bigint[])
returns void
language plpgsql
as $function$
declare
    part record;
begin
    for part in
        select n.workflow_id, min(n.id) as id
        from unnest(parts) p (id)
        cross join lateral (select n.id, n.workflow_id from pgqueue.nodes n where n.id = p.id and n.members is not null offset 0) n
        group by n.workflow_id order by n.workflow_id
    loop
        begin
            perform pgqueue.end_batch(part.workflow_id);
        exception when others or assert_failure then
            insert into pgqueue.unresolved (node_id) values (part.id);
            update pgqueue.nodes n set error = 'Left to the leader: its batch could not be ended: ' || left(sqlerrm, 10000)
            where n.id = part.id;
        end;
    end loop;
end
$function$;
