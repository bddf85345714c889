-- Lists the tables that hold one day (UTC) of finished jobs or of transitions, recognised by their names. They need not be attached.
-- `attached` is false if a crash, an interrupted restore or a person left the table detached. `detaching` is true if a DETACH CONCURRENTLY
-- was interrupted. To archive a day for good, detach its table, and rename it or move it to another schema.
create or replace function pgqueue.day_tables()
returns table (parent text, name text, day date, attached boolean, detaching boolean)
language sql
stable
set search_path = pg_catalog, pg_temp
as $function$
    select d.parent, d.name, d.day, i.inhrelid is not null, coalesce(i.inhdetachpending, false)
    from (select c.oid, p.parent, c.relname::text as name,
                 -- computed, because a cast to date would fail on a name with an impossible date
                 (make_date(substr(right(c.relname, 8), 1, 4)::int, 1, 1)
                  + make_interval(months => substr(right(c.relname, 8), 5, 2)::int - 1,
                                  days => substr(right(c.relname, 8), 7, 2)::int - 1))::date as day
          from unnest(array['jobs_done', 'transitions']) p (parent)
          join pg_class c on c.relname ~ ('^' || p.parent || '_[12][0-9]{7}$')
          where c.relnamespace = 'pgqueue'::regnamespace and c.relkind = 'r') d
    left join pg_inherits i on i.inhrelid = d.oid and i.inhparent = ('pgqueue.' || d.parent)::regclass
    where d.name = d.parent || '_' || to_char(d.day, 'YYYYMMDD')
$function$;
