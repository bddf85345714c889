-- Locks a job for an undo, wherever its row is, without waiting. Returns true, or false if another transaction has locked it. No row: there
-- is no such job. Never locks a running job, because its worker settles it (edit.sql); such a job has moved on in any case.
create or replace function pgqueue.lock_to_undo(job bigint)
returns setof boolean
language plpgsql
set search_path = pg_catalog, pg_temp
as $function$
begin
    perform from pgqueue.jobs j
    where j.id = job and j.state in ('pending', 'retrying', 'waiting', 'dead', 'completed', 'cancelled')
    for update skip locked;
    if found then
        return next true;
    elsif exists (select from pgqueue.jobs j where j.id = job and j.state <> 'running') then
        return next false;
    end if;
end
$function$;
