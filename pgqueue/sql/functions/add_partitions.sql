-- Makes the days of jobs_done and transitions from today to `ahead` days from now (UTC). Returns those it made.
-- Attaching instead of creating in place takes a weak lock on the parent; rows of that day which already lie in the
-- default partition move into the new one. Runs as the owner, so that a worker's role needs no DDL rights.
create or replace function pgqueue.add_partitions(ahead integer default 3)
returns setof text
language plpgsql
security definer
set search_path = pg_catalog, pg_temp
set timezone = 'UTC'
as $function$
declare
    parent text;
    key    text;
    day    date;
    child  text;
begin
    perform pg_advisory_xact_lock(7467178352);  -- workers that start together make the same days
    foreach parent in array array['jobs_done', 'transitions'] loop
        key := case parent when 'jobs_done' then 'finished_at' else 'at' end;
        for day in select d::date from generate_series(current_date, current_date + ahead, interval '1 day') d loop
            child := parent || '_' || to_char(day, 'YYYYMMDD');
            continue when to_regclass('pgqueue.' || child) is not null;
            execute format('create table pgqueue.%I (like pgqueue.%I including defaults including constraints)', child, parent);
            if parent = 'jobs_done' then
                execute format('create unique index %I on pgqueue.%I (id)', child || '_id_key', child);
            end if;
            execute format('lock table pgqueue.%I in access exclusive mode', parent || '_default');
            execute format('with moved as (delete from pgqueue.%I where %I >= %L and %I < %L returning *) insert into pgqueue.%I select * from moved',
                           parent || '_default', key, day, key, day + 1, child);
            execute format('alter table pgqueue.%I attach partition pgqueue.%I for values from (%L) to (%L)',
                           parent, child, day::timestamptz, (day + 1)::timestamptz);
            return next child;
        end loop;
    end loop;
end
$function$;
