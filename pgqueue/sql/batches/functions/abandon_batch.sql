-- Cancels a batch that is not sealed yet. The program that fills the batch calls it if it fails. The right to enqueue is enough.
-- Returns what cancel_workflow() returns, or 'sealed' if the batch is sealed: then it does nothing. Null: there is no such batch.
create or replace function pgqueue.abandon_batch(batch bigint)
returns text
language plpgsql
security definer
set search_path = pg_catalog, pg_temp
as $function$
declare
    w record;
begin
    select b.sealed_at into w from pgqueue.workflows b where b.id = batch and b.kind = 'batch';
    return case when not found then null when w.sealed_at is not null then 'sealed' else pgqueue.cancel_workflow(batch) end;
end
$function$;
