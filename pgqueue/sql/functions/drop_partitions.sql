-- Drops the days of jobs_done and transitions that are older than the longest retention of any queue.
-- Returns those it dropped. Never a mass DELETE. Runs as the owner, so that a worker's role needs no DDL rights.
create or replace function pgqueue.drop_partitions()
returns setof text
language plpgsql
security definer
set search_path = pg_catalog, pg_temp
set timezone = 'UTC'
as $function$
declare
    oldest date := (clock_timestamp() - coalesce((select max(q.retention) from pgqueue.queues q), interval '7 days'))::date;
    child  text;
begin
    for child in
        select c.relname
        from pg_inherits i
        join pg_class c on c.oid = i.inhrelid
        where i.inhparent in ('pgqueue.jobs_done'::regclass, 'pgqueue.transitions'::regclass)
          and c.relname ~ '_\d{8}$' and to_date(right(c.relname, 8), 'YYYYMMDD') < oldest
        order by 1
    loop
        execute format('drop table pgqueue.%I', child);
        return next child;
    end loop;
end
$function$;
