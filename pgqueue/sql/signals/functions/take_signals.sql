-- Decides waits for signals, for the checkpointer. `items` is a JSON array of (job_id, lease_id, worker_id, name, key, version, names):
-- an attempt, the name, the key and the version of the wait's checkpoint, and the signals that it waits for.
-- Takes the oldest signal with one of these names that was not taken before, and stores it as the checkpoint of the wait, in one
-- transaction. If there is no such signal and the time-out of the wait has passed, stores that instead. A checkpoint that says how the wait
-- ended is never changed. So a wait ends only once, either by a signal or by its time-out.
-- Handles one item after the other, because two waits of one job can wait for signals of the same name.
-- The fence and the locks are those of store_checkpoints.sql; then locks the signal and the checkpoint.
-- Uses jobs_live_id_key, checkpoints_pkey and signals_untaken_idx. Returns one row for each item. `what` is:
--   over: `value` says how the wait ended, and `held_lease` under which lease that was stored; `asked`: whether the job was asked to stop;
--   open: no such signal is there, and the time-out has not passed;
--   locked: another transaction has locked the row of the job; the caller tries this item again;
--   lost: the attempt no longer has the lease.
create or replace function pgqueue.take_signals(items jsonb)
returns table (what text, rank integer, kind text, held_lease bigint, value text, asked boolean)
language plpgsql
set search_path = pg_catalog, pg_temp
set timezone = 'UTC'
set plan_cache_mode = force_generic_plan
set enable_seqscan = off
as $function$
#variable_conflict use_column
declare
    a     record;
    known record;
    taken record;
    made  jsonb;
begin
    for a in
        select e.rank, i.*
        from jsonb_array_elements(items) with ordinality e (item, rank)
        cross join lateral jsonb_to_record(e.item) as i (
            job_id bigint, lease_id bigint, worker_id bigint, name text, key text, version smallint, names text[])
        order by i.job_id, i.lease_id, i.name, i.key
    loop
        rank := a.rank;
        kind := 'wait';
        held_lease := null;
        value := null;
        select l.cancel_requested into asked from pgqueue.jobs_live l
        where l.id = a.job_id and (l.lease_id = a.lease_id) is true and (l.worker_id = a.worker_id) is true and l.state = 'running'
        for key share skip locked;
        if not found then
            perform from pgqueue.jobs_live l
            where l.id = a.job_id and (l.lease_id = a.lease_id) is true and (l.worker_id = a.worker_id) is true and l.state = 'running';
            what := case when found then 'locked' else 'lost' end;
            return next;
            continue;
        end if;

        select c.kind, c.lease_id, c.value into known from pgqueue.checkpoints c
        where c.job_id = a.job_id and c.name = a.name and c.key = a.key;
        if found and not (known.kind = 'wait' and known.value ? 'names') then
            what := 'over';
            kind := known.kind;
            held_lease := known.lease_id;
            value := known.value::text;
            return next;
            continue;
        end if;

        update pgqueue.signals s set taken_by = a.lease_id
        where s.id = (select o.id from pgqueue.signals o
                      where o.job_id = a.job_id and o.name = any(a.names) and o.taken_by is null
                      order by o.id limit 1)
        returning s.id, s.name, s.key, s.at, s.sender, s.payload into taken;
        if found then
            made := jsonb_build_object('signal', jsonb_build_object(
                'id', taken.id, 'name', taken.name, 'key', taken.key, 'at', taken.at, 'sender', taken.sender, 'payload', taken.payload));
        elsif (known.value ->> 'until')::timestamptz <= clock_timestamp() then
            made := jsonb_build_object('timed_out', known.value -> 'until');
        else
            what := 'open';
            return next;
            continue;
        end if;
        insert into pgqueue.checkpoints as c (job_id, lease_id, worker_id, kind, name, key, version, value)
        values (a.job_id, a.lease_id, a.worker_id, 'wait', a.name, a.key, a.version, made)
        on conflict (job_id, name, key) do update
        set lease_id = excluded.lease_id, worker_id = excluded.worker_id, at = excluded.at, version = excluded.version,
            value = excluded.value;
        if a.version is not null then
            update pgqueue.jobs_live j set version = a.version where j.id = a.job_id and j.version is null;
        end if;
        what := 'over';
        held_lease := a.lease_id;
        value := made::text;
        return next;
    end loop;
end
$function$;
