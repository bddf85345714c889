-- Sends a signal to one job: `select pgqueue.signal(42, 'approved', '{"by": "ann"}', key => 'webhook-991')`.
-- The signal is delivered when the transaction commits. If the job waits for a signal of this name, it goes on (signal_arrived.sql). If it
-- does not wait yet, the signal is kept until it does. Each signal is taken by one wait. `key` guards against repeats: a second signal
-- with the same job, name and key is not stored. `sender` says who sent it.
-- Returns 'sent'; if the job has finished, its state; if there is no such job, null. In the last two cases nothing is stored.
-- Uses jobs_live_id_key, signals_key. Locks only the new row, and, if `key` is given, waits for a transaction that sends the same key.
-- Runs as the owner, so that an enqueuer can send a signal although it is not allowed to change jobs.
create or replace function pgqueue.signal(job bigint, name text, payload jsonb default null, key text default null,
    sender text default null)
returns text
language plpgsql
security definer
set search_path = pg_catalog, pg_temp
as $function$
#variable_conflict use_column
declare
    wrong  text;
    now_is text;
begin
    wrong := case when job is null then 'the id of the job is null'
                  when coalesce(name, '') = '' then 'a signal needs a name'
                  when octet_length(name) > 250 then 'the name of the signal has more than 250 bytes'
                  when name like 'pgqueue.%' or name like 'gather:%' then
                      format('the name %s is reserved: names of signals do not begin with pgqueue. or gather:', quote_literal(name))
                  when octet_length(key) not between 1 and 255 then 'the key of the signal is empty or has more than 255 bytes'
                  when octet_length(sender) not between 1 and 255 then 'the sender of the signal is empty or has more than 255 bytes'
                  when octet_length(payload::text) > 262144 then 'the payload of the signal has more than 256 KiB of JSON' end;
    if wrong is not null then
        raise exception using errcode = 'PQ404', message = 'pgqueue: ' || wrong;
    end if;
    for rounds in 1 .. 100 loop
        perform from pgqueue.jobs_live j where j.id = job;
        if found then
            insert into pgqueue.signals (job_id, name, key, sender, payload)
            values (job, signal.name, signal.key, signal.sender, signal.payload)
            on conflict (job_id, name, key) where key is not null do nothing;
            return 'sent';
        end if;
        select j.state into now_is from pgqueue.jobs j where j.id = job limit 1;
        if now_is is null or now_is not in ('pending', 'running', 'retrying', 'waiting') then  -- otherwise a revive has just committed
            return now_is;
        end if;
    end loop;
    raise serialization_failure using message = format('pgqueue: job %s ends and is revived again and again', job);
end
$function$;
