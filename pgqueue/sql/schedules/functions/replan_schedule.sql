-- Trigger function of pgqueue.schedules. After any edit of a row, a scheduler (the part of a worker that fires schedules) computes the next
-- fire time again, when it next reads the schedules.
-- An edit of the times, also a pause or the end of a pause, applies from now on. Future fire times of the old definition are dropped. Past
-- fire times of the new definition get no job.
-- Any other edit keeps the next fire time.
create or replace function pgqueue.replan_schedule()
returns trigger
language plpgsql
set search_path = pg_catalog, pg_temp
as $function$
begin
    if pgqueue.is_reserved(new.task) then
        raise exception using errcode = 'PQ404', message = format('pgqueue: the name %s is reserved', new.task);
    end if;
    if tg_op = 'INSERT' then
        new.planned := false;
        new.next_at := null;
        new.problem := null;
    elsif (new.cron, new.every, new.at, new.anchor, new.tz, new.paused)
          is distinct from (old.cron, old.every, old.at, old.anchor, old.tz, old.paused) then
        new.edited_at := clock_timestamp();
        new.planned := false;
        new.next_at := null;
        new.problem := null;
    elsif (new.name, new.task, new.args, new.options, new.overlap, new.missed, new.missed_cap, new.jitter)
          is distinct from (old.name, old.task, old.args, old.options, old.overlap, old.missed, old.missed_cap, old.jitter) then
        new.planned := false;
        new.problem := null;
    end if;
    return new;
end
$function$;
