-- Wakes the idle workers of a queue when the caller's transaction commits. Sends as few notifications as possible, because a NOTIFY takes a
-- database-wide lock at commit, and makes every listener look for jobs.
-- Sends no notification while a flag of the queue shows that the queue's workers look for jobs by themselves:
--   a busy worker has marked the queue, and polls it quickly (mark_busy.sql);
--   or workers were woken less than 10 ms ago, and look again after 12 ms and after 50 ms (worker/claiming/wake_ups.py).
-- A transaction marks the workers as woken only once, at its first call. It wakes them only when it commits. So if a long transaction
-- renewed the mark at each call, it would keep other transactions from waking the workers.
-- Sends no notification if pgqueue.notify is off in the transaction (functions/notify.sql).
-- A transaction can leave out its NOTIFY because another transaction has sent one. That other transaction can then be rolled back or commit
-- later than the woken workers look. In this case the next poll finds the job.
-- The flag is a sequence, whose value is the time until which the mark is valid. So the value is visible to all transactions immediately,
-- before the commit, and a change of it leaves no dead rows, which an old snapshot would keep.
-- All queues share 64 flags. If two queues share one flag, a job at worst waits for the next poll.
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
    -- Most calls end here. All conditions are in one expression, because the server checks the plan of each expression separately.
    -- The time is in whole milliseconds, as the flags are. So a flag that mark_busy.sql sets to the present time is never in the future.
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
