-- The first day (UTC) that `retention` keeps: what finished before it may go. Whole days: a job stays up to a day longer.
-- The clock alone does not decide: as many days as are kept must have been made, today included. So a clock that jumps ahead expires
-- nothing, and a dump of old days keeps as many of them as a living queue would.
create or replace function pgqueue.expired_before(retention interval)
returns date
language sql
stable
set search_path = pg_catalog, pg_temp
set timezone = 'UTC'
as $function$
    select least((clock_timestamp() - retention)::date, coalesce(
        (select d.day
         from pgqueue.day_tables() d
         where d.parent = 'jobs_done' and d.day <= clock_timestamp()::date
         order by d.day desc
         offset least(ceil(extract(epoch from retention) / 86400), 1000000)::int limit 1),
        '-infinity'))
$function$;
