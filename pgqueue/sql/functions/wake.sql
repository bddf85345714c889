-- Wakes the idle workers of a queue when the caller's transaction commits, as seldom as will do, for a NOTIFY takes a
-- database-wide lock at commit and costs each listener a look:
--   not while a worker has marked the queue busy: that one polls (mark_busy.sql);
--   not if this transaction has done so before;
--   not within 10 ms of another: whoever was woken looks again after 12 ms (worker/claimer.py).
-- A wake-up spared for one that is then rolled back, or committed late, is made up for by the next poll.
create or replace function pgqueue.wake(queue text)
returns void
language plpgsql
set search_path = pg_catalog, pg_temp
as $function$
declare
    flag bigint := (select q.id % 64 from pgqueue.queues q where q.name = wake.queue);
    moment bigint := date_part('epoch', clock_timestamp()) * 1000;
    here text := pg_current_xact_id()::text;
begin
    if flag is not null then
        if pg_sequence_last_value(('pgqueue.busy_' || flag)::regclass) >= moment
           or current_setting('pgqueue.woken_' || flag, true) = here then
            return;
        end if;
        perform set_config('pgqueue.woken_' || flag, here, false);
        if pg_sequence_last_value(('pgqueue.woken_' || flag)::regclass) > moment - 10 then
            return;
        end if;
        perform setval(('pgqueue.woken_' || flag)::regclass, moment);
    end if;
    perform pg_notify('pgqueue', wake.queue);
end
$function$;
