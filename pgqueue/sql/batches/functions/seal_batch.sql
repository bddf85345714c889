-- Seals a batch: no more jobs can be added to it, except by its own members. When its last member ends, the batch ends.
-- Returns 'sealed', or 'ended' if no member is unfinished: then the batch ends now. In a transaction with another isolation level than READ
-- COMMITTED, always returns 'sealed', because the leader ends the batch (end_batch()). Raises PQ540 if there is no such batch, and PQ440 if it
-- is sealed already or was cancelled.
-- Locks the row of the batch with FOR UPDATE: waits for all transactions that have added members, and for no node. Then it looks, with a
-- new snapshot, whether all members have ended. If a member's end is not visible yet, that end waits for this lock, and looks afterwards.
-- So one of the two sees that all members have ended.
-- Runs as the owner, as enqueue_workflow() does.
create or replace function pgqueue.seal_batch(batch bigint)
returns text
language plpgsql
security definer
set search_path = pg_catalog, pg_temp
as $function$
declare
    w record;
begin
    select b.stop_reason, b.sealed_at into w from pgqueue.workflows b where b.id = batch and b.kind = 'batch' for update;
    if not found then
        raise exception using errcode = 'PQ540', message = format('pgqueue: there is no batch %s', coalesce(batch::text, 'null'));
    elsif w.stop_reason is not null then
        raise exception using errcode = 'PQ440', message = format('pgqueue: batch %s was cancelled', batch);
    elsif w.sealed_at is not null then
        raise exception using errcode = 'PQ440', message = format('pgqueue: batch %s is sealed already', batch);
    end if;
    update pgqueue.workflows b set sealed_at = clock_timestamp() where b.id = batch;
    return case when pgqueue.end_batch(batch) then 'ended' else 'sealed' end;
end
$function$;
