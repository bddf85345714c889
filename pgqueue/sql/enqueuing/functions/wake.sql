-- Wakes the idle workers of a queue when the caller's transaction commits. Does so as seldom as possible, because a NOTIFY takes a
-- database-wide lock at commit and costs each listener a look.
-- Sends none while the queue's workers are known to be awake:
--   a busy worker has said so, and polls (mark_busy.sql);
--   other workers were woken less than 10 ms ago, and look again after 12 ms (worker/claiming/pace.py).
-- A transaction marks the workers as woken only once. A long transaction wakes no worker before its end, so it must not keep other
-- transactions from waking them.
-- Sends none in a transaction that may send none (functions/notify.sql).
-- A transaction may send none because another one did, which is then rolled back or commits late. The next poll makes up for that.
-- The flag is a sequence: visible at once, also to open transactions, and without dead rows under an old snapshot.
-- All queues share 64 flags. If two queues share one, a wake-up may at most have to wait for the next poll.
-- Runs as the owner, because a role that could set the flags itself could keep all workers asleep.
create or replace function pgqueue.wake(queue text)
returns void
language plpgsql
security definer
set search_path = pg_catalog, pg_temp
as $function$
declare
    flag text;
    mine text;
begin
    -- Most calls end here. One expression asks everything, because the server checks the plan of each expression by itself.
    -- The time is in whole milliseconds, as the flags are. So a flag that is taken back now never lies in the future.
    if pg_sequence_last_value(('pgqueue.awake_' || (hashtext(queue) & 63))::regclass)
           > (date_part('epoch', clock_timestamp()) * 1000)::bigint
       or current_setting('pgqueue.notify', true) = 'off' then
        return;
    end if;
    flag := 'pgqueue.awake_' || (hashtext(queue) & 63);
    mine := pg_current_xact_id()::text;
    if current_setting(flag, true) is distinct from mine then
        perform set_config(flag, mine, false), setval(flag::regclass, (date_part('epoch', clock_timestamp()) * 1000)::bigint + 10);
    end if;
    perform pg_notify('pgqueue', queue);
end
$function$;
