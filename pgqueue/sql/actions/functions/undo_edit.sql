-- Gives a job its former values back, if it still has those of the edit, and does not run. Returns undone, or why not (undo.sql). The caller
-- has locked the job.
create or replace function pgqueue.undo_edit(job bigint, before jsonb)
returns text
language plpgsql
set search_path = pg_catalog, pg_temp
as $function$
declare
    now_is record;
begin
    select j.state, j.lease_id, pgqueue.editable(j) as values into now_is
    from pgqueue.jobs j where j.id = job order by j.finished_at nulls first limit 1;
    if not found then
        return 'not found';
    elsif pgqueue.refusal('edit', now_is.state, false, null) is not null then
        return now_is.state;
    elsif now_is.lease_id <> (before ->> 'lease_id')::bigint
          or exists (select from jsonb_each(before -> 'later') l where l.value is distinct from now_is.values -> l.key) then
        return 'moved on';
    elsif before -> 'former' <> '{}' then
        perform pgqueue.edit(job, before -> 'former');
    end if;
    return 'undone';
end
$function$;
