-- Returns the first day (UTC) that `retention` keeps. Jobs that finished before this day can be deleted. Only whole days count, so a job
-- stays up to a day longer.
-- The clock alone does not decide. There must also be as many day tables as days are to be kept, including today's. So if the clock jumps
-- ahead, nothing expires. And if a dump of old days is restored, as many of these days are kept as in a queue that runs.
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
