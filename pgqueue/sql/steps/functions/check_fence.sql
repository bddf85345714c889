-- Makes the deferred trigger of checkpoints (fence_checkpoint.sql) check the lease now, and not at COMMIT. A transaction that completes its
-- job calls this function before it deletes the job's row, because at COMMIT the trigger could not find that row.
-- If this transaction has written a checkpoint for which the trigger fires, locks the job's row with FOR KEY SHARE.
create or replace function pgqueue.check_fence()
returns void
language plpgsql
set search_path = pg_catalog, pg_temp
as $function$
begin
    set constraints pgqueue.checkpoints_fence_trigger immediate;
end
$function$;
