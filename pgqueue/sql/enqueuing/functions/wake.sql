-- Wakes the idle workers of a queue when the caller's transaction commits, as seldom as will do, for a NOTIFY takes a
-- database-wide lock at commit and costs each listener a look. Not while its workers are known to be awake:
--   a busy one has said so, and polls (mark_busy.sql);
--   others were woken less than 10 ms ago, and look again after 12 ms (worker/claiming/pace.py).
-- A transaction says the latter once only, so that a long one, which wakes no worker before its end, keeps no other from it.
-- Nor in a transaction that may send none (functions/notify.sql).
-- A wake-up spared for one that is then rolled back, or committed late, is made up for by the next poll.
-- The flag is a sequence: visible at once, also to open transactions, and without dead rows under an old snapshot.
-- Queues share 64 of them; sharing one costs at most a wake-up that comes by the next poll.
-- Runs as the owner: a role that could set the flags itself could keep all workers asleep.
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
    -- Most calls end here. One expression asks everything, because each is checked against its plan by itself. In whole milliseconds,
    -- as the flags are set: a flag that is taken back now never lies in the future.
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
