-- Looks, during the COMMIT of a transaction that added a part to a batch, whether the batch has ended since the part was added. If it has,
-- the whole transaction is rolled back, with SQLSTATE PQ440. This can happen if the batch was cancelled, or if the member that added the
-- part lost its lease meanwhile.
-- This is the function of nodes_part_trigger, which is deferred. So before the COMMIT, a transaction that adds members holds up no end of
-- others.
-- Locks the row of the batch with FOR SHARE until the end of the COMMIT, because each end of a batch locks that row, too (end_batch()).
-- Runs as the owner, because the role of the transaction need not be allowed to lock batches.
create or replace function pgqueue.part_added()
returns trigger
language plpgsql
security definer
set search_path = pg_catalog, pg_temp
as $function$
declare
    w record;
begin
    select b.ended_at, b.stop_reason into w from pgqueue.workflows b where b.id = new.workflow_id for share;
    if w.ended_at is not null and exists (select from pgqueue.nodes n where n.id = new.id and n.state is null) then
        raise exception using errcode = 'PQ440', message = format(
            case when w.stop_reason is null then 'pgqueue: batch %s has ended, so nothing of this transaction is committed'
                 else 'pgqueue: batch %s was cancelled, so nothing of this transaction is committed' end, new.workflow_id);
    end if;
    return null;
end
$function$;
