-- Returns a moment as the sentences of the SQL API show it: in UTC, to the second, with how far away it is.
create or replace function pgqueue.time_in_words(moment timestamptz)
returns text
language sql
stable
set search_path = pg_catalog, pg_temp
as $function$
    select to_char(moment at time zone 'UTC', 'YYYY-MM-DD HH24:MI:SS') || ' UTC (' ||
        case when away >= interval '0' then 'in ' || span else span || ' ago' end || ')'
    from (select moment - clock_timestamp() as away) a
    cross join lateral (select abs(date_part('epoch', away)) as seconds) s
    cross join lateral (
        select case when seconds < 59.5 then round(seconds) || ' s'
                    when seconds < 7200 then round(seconds / 60) || ' m' when seconds < 172800 then round(seconds / 3600) || ' h'
                    else round(seconds / 86400) || ' d' end as span
    ) t
$function$;
