-- Wakes the idle workers of a queue when the caller's transaction commits; not while a worker has marked the queue busy:
-- that one polls (see mark_busy.sql), and a NOTIFY takes a database-wide lock at commit.
create or replace function pgqueue.wake(queue text)
returns void
language plpgsql
set search_path = pg_catalog, pg_temp
as $function$
declare
    busy_until bigint;
begin
    select pg_sequence_last_value(('pgqueue.busy_' || q.id % 64)::regclass) into busy_until
    from pgqueue.queues q where q.name = wake.queue;
    if coalesce(busy_until, 0) < date_part('epoch', clock_timestamp()) * 1000 then
        perform pg_notify('pgqueue', wake.queue);
    end if;
end
$function$;
