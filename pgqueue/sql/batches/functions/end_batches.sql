-- Ends the batches to which these parts belong, if they were the last ones. If a follow-up job cannot be stored, because a trigger of the
-- user raises an error, the end of the members is kept, and the part is left to the leader, which tries to end the batch again.
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
            perform pgqueue.leave_to_leader(array[part.id], 'Its batch could not be ended', sqlerrm);
        end;
    end loop;
end
$function$;
