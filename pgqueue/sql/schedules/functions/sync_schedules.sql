-- Turns the schedules that an app's code declares into rows, all in one transaction. Removes the rows of schedules that the code no longer
-- declares.
-- Never touches rows that were made in SQL or by `pgq cron`, and never the pauses of operators. If an operator edited a row in another way,
-- the edit stays until the schedule's declaration in the code changes.
-- Workers of several deploys of an app can run at the same time. In this case, the newest set of schedules is in force: the set whose first
-- report is the most recent. A worker with an older set changes nothing. An older set comes into force again when no worker has reported a
-- newer set for `seconds` (a rollback).
-- An empty set counts as older than any set that a worker has reported within `seconds`. An empty set is not stored if the app never had
-- another set.
-- Two different apps can have the same name by accident. So a set counts as the set of another app if its tasks have no task in common with
-- `tasks`, however new that set is.
-- The row of a schedule that left the code is removed only if its task is one of this app's tasks, if no worker has reported that task for
-- a week, or if the user chose the app's name on purpose (`named`).
-- `declared` is an array of objects with the columns of pgqueue.schedules; every and jitter are in seconds.
-- Returns one row (null, what) about the set. `what` is none (the set is empty and was not stored), current (the set was in force already),
-- applied (it came into force now), older (a newer set is in force), or busy (another worker is syncing; call again).
-- Also returns rows (name, what): added, changed, removed; kept (the row is not in this code, but its task is not one of this app's tasks);
-- foreign (a row of that name was not made by this app's code, and stays as it is).
-- A set that is already current changes nothing, with one exception: if the app had another name before, and no worker of that name is
-- left, the set takes over the rows of that name.
-- Locks pgqueue.schedule_sets against other workers that sync, without waiting for the lock; then the rows of pgqueue.schedules that
-- change.
create or replace function pgqueue.sync_schedules(app text, fingerprint text, declared jsonb, seconds float8,
    tasks text[] default '{}', named boolean default false)
returns table (schedule text, what text)
language plpgsql
set search_path = pg_catalog, pg_temp
set lock_timeout = '2s'
as $function$
#variable_conflict use_column
declare
    moment  timestamptz := clock_timestamp();
    until   timestamptz := clock_timestamp() + make_interval(secs => seconds);
    newest  record;
    item    record;
    present record;
    current boolean;
begin
    if tasks = '{}' then  -- a worker of an old version, in which apps had no names, passes its option -A as `app`
        app := split_part(app, ':', 1);
    end if;
    select s.fingerprint, s.expires_at into newest
    from pgqueue.schedule_sets s where s.app = sync_schedules.app order by s.since desc limit 1;
    if not found and sync_schedules.declared = '[]' then
        return query select null, 'none';
        return;
    end if;
    begin
        lock table pgqueue.schedule_sets in share update exclusive mode nowait;
    exception
        when lock_not_available then
            return query select null, 'busy';
            return;
    end;
    select s.fingerprint, s.expires_at into newest  -- read again, because from here on no other transaction can change it
    from pgqueue.schedule_sets s
    where s.app = sync_schedules.app
      and (s.fingerprint = sync_schedules.fingerprint or s.tasks && sync_schedules.tasks or s.tasks = '{}'
           or sync_schedules.tasks = '{}')
    order by s.since desc limit 1;
    current := coalesce(newest.fingerprint = sync_schedules.fingerprint, false);
    if current then
        update pgqueue.schedule_sets s
        set expires_at = greatest(s.expires_at, until),
            tasks = case when sync_schedules.tasks = '{}' then s.tasks else sync_schedules.tasks end
        where s.app = sync_schedules.app and s.fingerprint = sync_schedules.fingerprint;
    elsif newest.expires_at > moment and (sync_schedules.declared = '[]' or exists (
        select from pgqueue.schedule_sets s
        where s.app = sync_schedules.app and s.fingerprint = sync_schedules.fingerprint)) then
        return query select null, 'older';
        return;
    else
        insert into pgqueue.schedule_sets as s (app, fingerprint, since, expires_at, tasks)
        values (sync_schedules.app, sync_schedules.fingerprint, moment, until, sync_schedules.tasks)
        on conflict (app, fingerprint) do update
        set since = excluded.since, expires_at = excluded.expires_at, tasks = excluded.tasks;
        return query
            with gone as (
                delete from pgqueue.schedules s
                where s.source = 'code' and s.app = sync_schedules.app
                  and s.name not in (select d ->> 'name' from jsonb_array_elements(sync_schedules.declared) d)
                  and (sync_schedules.named or sync_schedules.tasks = '{}' or s.task = any(sync_schedules.tasks) or exists (
                      select from pgqueue.tasks t where t.name = s.task and t.seen_at < moment - interval '7 days'))
                returning s.name
            )
            select g.name::text, 'removed' from gone g order by 1;
        return query
            select s.name::text, 'kept'
            from pgqueue.schedules s
            where s.source = 'code' and s.app = sync_schedules.app and not sync_schedules.named and sync_schedules.tasks <> '{}'
              and s.task <> all(sync_schedules.tasks)
              and s.name not in (select d ->> 'name' from jsonb_array_elements(sync_schedules.declared) d)
              and not exists (select from pgqueue.tasks t where t.name = s.task and t.seen_at < moment - interval '7 days')
            order by 1;
    end if;

    for item in
        select i.*, md5(d.body::text) as digest
        from jsonb_array_elements(sync_schedules.declared) as d (body)
        cross join lateral jsonb_to_record(d.body) as i (
            name text, task text, cron text, every float8, at timestamptz, anchor timestamptz, tz text, overlap text,
            missed text, missed_cap smallint, jitter float8, args jsonb, options jsonb)
        where not current or exists (
            select from pgqueue.schedules s where s.name = i.name and s.source = 'code' and s.app <> sync_schedules.app)
        order by i.name
    loop
        insert into pgqueue.schedules
            (name, task, cron, every, at, anchor, tz, overlap, missed, missed_cap, jitter, args, options,
             source, app, digest)
        values (item.name, item.task, item.cron, make_interval(secs => item.every), item.at,
                coalesce(item.anchor, date_trunc('second', moment)), item.tz, item.overlap, item.missed, item.missed_cap,
                make_interval(secs => item.jitter), item.args, item.options, 'code', sync_schedules.app, item.digest)
        on conflict (name) do nothing;
        if found then
            return query select item.name, 'added';
            continue;
        end if;
        select s.source, s.app, s.digest into present from pgqueue.schedules s where s.name = item.name for update;
        if present.source = 'code' and (present.app = sync_schedules.app or not exists (
            select from pgqueue.schedule_sets o where o.app = present.app and o.expires_at > moment)) then
            if present.digest is distinct from item.digest or present.app <> sync_schedules.app then
                update pgqueue.schedules s
                set task = item.task, cron = item.cron, every = make_interval(secs => item.every), at = item.at,
                    anchor = coalesce(item.anchor, s.anchor), tz = item.tz, overlap = item.overlap, missed = item.missed,
                    missed_cap = item.missed_cap, jitter = make_interval(secs => item.jitter), args = item.args,
                    options = item.options, app = sync_schedules.app, digest = item.digest
                where s.name = item.name;
                return query select item.name, 'changed';
            end if;
        else
            return query select item.name, 'foreign';
        end if;
    end loop;
    return query select null, case when current then 'current' else 'applied' end;
end
$function$;
