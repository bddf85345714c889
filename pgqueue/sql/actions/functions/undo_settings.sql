-- Undoes a pause, a resume or a change of a limit, if nobody has changed the same thing since. Returns undone, or moved on.
create or replace function pgqueue.undo_settings(act pgqueue.audit)
returns text
language plpgsql
set search_path = pg_catalog, pg_temp
as $function$
declare
    changed boolean := false;
    former constant pgqueue.limits := jsonb_populate_record(null::pgqueue.limits, act.before);
    later  constant pgqueue.limits := jsonb_populate_record(null::pgqueue.limits, act.after);
begin
    if act.action in ('pause', 'resume') then
        update pgqueue.queues q set paused = coalesce((act.before ->> 'paused')::boolean, false)
        where q.name = act.about ->> 'queue' and q.paused = (act.after ->> 'paused')::boolean;
        changed := found;
    elsif act.action in ('pause_schedule', 'resume_schedule') then
        update pgqueue.schedules s set paused = coalesce((act.before ->> 'paused')::boolean, false)
        where s.name = act.about ->> 'schedule' and s.paused = (act.after ->> 'paused')::boolean;
        changed := found;
    elsif act.action = 'set_limit' and act.before is null then
        delete from pgqueue.limits l where l.id = later.id and to_jsonb(l) = act.after;
        changed := found;
    elsif act.action = 'set_limit' then
        update pgqueue.limits l
        set concurrency = former.concurrency, rate = former.rate, period = former.period, burst = former.burst, share = former.share
        where l.id = former.id and to_jsonb(l) = act.after;
        changed := found;
    elsif act.action = 'remove_limit' then
        insert into pgqueue.limits (queue, task, per_key, key, concurrency, rate, period, sliding, burst, share)
        values (former.queue, former.task, former.per_key, former.key, former.concurrency, former.rate, former.period, former.sliding,
                former.burst, former.share)
        on conflict on constraint limits_scope_key do nothing;
        changed := found;
    end if;
    return case when changed then 'undone' else 'moved on' end;
end
$function$;
