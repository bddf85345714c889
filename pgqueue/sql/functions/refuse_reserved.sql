-- Trigger of pgqueue.jobs_live: refuses a job of a name that pgqueue keeps for itself (messages of alerts, hooks), unless it comes from
-- its own statements, which mark their rows as `ours`. A role that may only enqueue has no right on that column.
create or replace function pgqueue.refuse_reserved()
returns trigger
language plpgsql
set search_path = pg_catalog, pg_temp
as $function$
begin
    if new.ours is null then
        raise exception using errcode = 'PQ404', message = format('pgqueue: the name %s is reserved', new.task),
            hint = 'names that begin with pgqueue. or hold :on_ belong to messages of alerts and to hooks';
    end if;
    return null;
end
$function$;
