-- Makes the day tables of jobs_done and transitions from today to `ahead` days (0 to 30) from now (UTC). Attaches day tables that are
-- detached.
-- Returns one row for each day that was missing. `what` is made or attached. If that failed, `what` is locked (try again later), refused
-- (`why` is the error), or crowded. Crowded means that more than 5,000 rows of that day are in the default partition; they stay there until
-- retention deletes them.
-- Call it until it makes no more day tables. If a default partition is large, one call makes only one day table, so that its locks are
-- short.
-- Waits at most 50 ms for a lock. If another transaction keeps the tables locked, does not wait at all, because readers and writers would
-- then queue behind this wait. It locks:
--   the default partition, in order to attach a day table. An insert does not use the default partition if the table of its day exists;
--   for today's table also the parent, against writers. Otherwise an insert that has chosen the default partition already would fail when
--     today gets its own table.
-- Runs as the owner, so that a worker's role needs no DDL rights. If the caller then leaves its transaction open, the server ends the
-- caller's session after 10 s, which frees the locks.
create or replace function pgqueue.add_partitions(ahead integer default 3)
returns table (name text, what text, why text)
language plpgsql
security definer
set search_path = pg_catalog, pg_temp
set timezone = 'UTC'
set lock_timeout = '5s'
as $function$
#variable_conflict use_column
declare
    most    constant integer := 5000;  -- moving this many rows takes about 20 ms
    today   constant date := clock_timestamp()::date;
    missing record;
    rest    text;
    crowd   bigint;
    locked  text[] := '{}';  -- default partitions that this transaction has locked
begin
    if ahead is null or ahead not between 0 and 30 then
        raise exception using errcode = 'PQ404', message = format('pgqueue: ahead is %s: give from 0 to 30 days', ahead);
    end if;
    perform set_config('idle_in_transaction_session_timeout', '10s', true);
    begin
        -- Without this lock, workers that start together would make the same day tables. Only a role that is allowed to change
        -- pgqueue.leader can take it.
        lock table pgqueue.leader in share update exclusive mode;
    exception
        when lock_not_available then
            name := 'jobs_done';
            what := 'locked';
            return next;
            return;
    end;
    perform set_config('lock_timeout', '50ms', true);
    for missing in
        select w.parent, w.day, w.parent || '_' || to_char(w.day, 'YYYYMMDD') as child, d.name is not null as there,
               coalesce(d.detaching, false) as detaching,
               case w.parent when 'jobs_done' then 'finished_at' else 'at' end as key,
               case w.parent when 'jobs_done' then 'id' else 'job_id, at' end as lookup
        from (select p.parent, today + n.n as day
              from unnest(array['jobs_done', 'transitions']) p (parent), generate_series(0, ahead) n (n)
              union
              select d.parent, d.day from pgqueue.day_tables() d) w
        left join pgqueue.day_tables() d on d.parent = w.parent and d.day = w.day
        where d.name is null or not d.attached or d.detaching
        order by w.day, w.parent
    loop
        name := missing.child;
        why := null;
        rest := missing.parent || '_default';
        what := case when missing.there then 'attached' else 'made' end;
        begin
            execute format('select count(*) from (select from pgqueue.%1$I where %2$I >= %3$L and %2$I < %4$L limit %5$s) r',
                           rest, missing.key, missing.day, missing.day + 1, most + 1) into crowd;
            if crowd > most then
                raise exception using errcode = 'PQ001', message = 'crowded';
            end if;
            if rest <> all(locked)
               and pgqueue.is_locked_for_long(array['pgqueue.' || missing.parent, 'pgqueue.' || rest]::regclass[]) then
                raise lock_not_available;
            end if;
            if missing.detaching then
                execute format('alter table pgqueue.%I detach partition pgqueue.%I finalize', missing.parent, missing.child);
            end if;
            if not missing.there then
                -- Rows here are never updated. They are frozen early, so that vacuum need not read them again later.
                execute format('create table pgqueue.%I (like pgqueue.%I including defaults including constraints)'
                               ' with (autovacuum_freeze_min_age = 0, autovacuum_analyze_threshold = 10000,'
                               ' autovacuum_analyze_scale_factor = 0.5)', missing.child, missing.parent);
            end if;
            execute format('create %s index if not exists %I on pgqueue.%I (%s)',
                           case missing.parent when 'jobs_done' then 'unique' else '' end,
                           missing.child || case missing.parent when 'jobs_done' then '_id_key' else '_job_id_at_idx' end,
                           missing.child, missing.lookup);
            -- If there is a publication of all tables, rows can be deleted only from a table with a replica identity. Transitions have no
            -- unique index, so their identity is the full row.
            execute format('alter table pgqueue.%I replica identity ', missing.child)
                || case missing.parent when 'jobs_done' then format('using index %I', missing.child || '_id_key') else 'full' end;
            -- This constraint proves that all rows are within the bounds. Without it, attaching a large table would read the whole table
            -- while it holds its locks.
            execute format('alter table pgqueue.%1$I add constraint bounds'
                           ' check (%2$I is not null and %2$I >= %3$L and %2$I < %4$L)',
                           missing.child, missing.key, missing.day::timestamptz, (missing.day + 1)::timestamptz);
            if missing.day <= today then
                execute format('lock table only pgqueue.%I in share row exclusive mode', missing.parent);
            end if;
            execute format('lock table pgqueue.%I in access exclusive mode', rest);
            if crowd > 0 then
                execute format('with moved as (delete from pgqueue.%1$I where %2$I >= %3$L and %2$I < %4$L returning *)'
                               ' insert into pgqueue.%5$I select * from moved',
                               rest, missing.key, missing.day, missing.day + 1, missing.child);
            end if;
            execute format('alter table pgqueue.%I attach partition pgqueue.%I for values from (%L) to (%L)', missing.parent,
                           missing.child, missing.day::timestamptz, (missing.day + 1)::timestamptz);
            execute format('alter table pgqueue.%I drop constraint bounds', missing.child);
            locked := locked || rest;
        exception
            when lock_not_available then
                what := 'locked';
            when sqlstate 'PQ001' then
                what := 'crowded';
            when others then
                what := 'refused';
                why := sqlerrm;
        end;
        return next;
        exit when what in ('made', 'attached') and pg_relation_size('pgqueue.' || rest) > 8000000;
    end loop;
end
$function$;
