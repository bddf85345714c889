-- Whether another transaction keeps a lock on one of these tables: the same transaction is seen twice, 50 ms apart. A function that needs
-- an exclusive lock calls this first, because all later transactions would queue behind its wait for the lock.
create or replace function pgqueue.is_locked_for_long(tables regclass[])
returns boolean
language plpgsql
set search_path = pg_catalog, pg_temp
as $function$
declare
    seen text[];
begin
    for look in 1..2 loop
        select array_agg(l.virtualtransaction) into seen
        from pg_locks l
        where l.locktype = 'relation' and l.granted and l.pid is distinct from pg_backend_pid()
          and l.database = (select d.oid from pg_database d where d.datname = current_database())
          and l.relation = any(tables::oid[]) and (look = 1 or l.virtualtransaction = any(seen));
        exit when seen is null;
        if look = 1 then
            perform pg_sleep(0.05);
        end if;
    end loop;
    return seen is not null;
end
$function$;
