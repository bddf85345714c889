-- Makes the fences of the checkpoints of this transaction check the lease now, and no longer at COMMIT (fence_checkpoint.sql). A transaction
-- that completes its job calls it before it deletes the job's row, because no fence could find that row at COMMIT.
-- Locks the job's row with FOR KEY SHARE if this transaction has written a checkpoint that has a fence.
create or replace function pgqueue.check_fence()
returns void
language plpgsql
set search_path = pg_catalog, pg_temp
as $function$
begin
    set constraints pgqueue.checkpoints_fence_trigger immediate;
end
$function$;
