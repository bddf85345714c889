-- Suspends jobs whose handlers sleep or wait for a signal. `items` is a JSON array of (id, lease_id, progress, requests). Each request is a
-- sleep or a wait (kind, name, key, version, delay, names): `name` and `key` name its checkpoint, `delay` is its length or its time-out in
-- seconds (null: no time-out), `names` are the signals that it waits for.
-- A job that only sleeps becomes pending, due at its moment, so nothing has to wake it. A job that waits for a signal becomes waiting, and
-- its run_at is its time-out. If such a signal is there already, the job becomes pending, due now. The job goes on as soon as one of its
-- requests is over. The attempt does not count, and the seats of the job are given back. If the attempt has stored a new checkpoint, the
-- attempts of the job are counted from 1 again.
-- The first suspension of a sleep or a wait stores its moment as a checkpoint. Later suspensions keep this moment.
-- A signal is never missed: both sides lock the row of the job before they look. First this function locks the rows. Its next statements
-- have new snapshots, so they see all signals whose senders locked the row earlier (deliver_signal.sql). Later senders see a waiting job.
-- The fence is that of complete.sql. Locks the rows of the jobs, by id, then new checkpoints, then the seats. If a job was asked to stop
-- meanwhile, finish_overdue ends it.
-- Uses jobs_live_id_key, checkpoints_pkey and signals_untaken_idx. Returns the ids of the jobs that were still this worker's.
create or replace function pgqueue.suspend(worker bigint, items jsonb)
returns setof bigint
language plpgsql
set search_path = pg_catalog, pg_temp
set timezone = 'UTC'
set plan_cache_mode = force_generic_plan
set enable_seqscan = off
set enable_hashjoin = off
set enable_mergejoin = off
as $function$
declare
    moment timestamptz;
    leased jsonb;
    own    bigint[];
    queues text[];
    asked  bigint[];
begin
    select jsonb_agg(i.item), array_agg(i.id) into leased, own
    from (select e.item, (e.item ->> 'id')::bigint as id, (e.item ->> 'lease_id')::bigint as lease_id
          from jsonb_array_elements(items) e (item) order by 2) i
    cross join lateral (
        select from pgqueue.jobs_live l
        where l.id = i.id and (l.lease_id = i.lease_id) is true and (l.worker_id = worker) is true and l.state = 'running'
        for update) l;
    if own is null then
        return;
    end if;

    moment := clock_timestamp();
    insert into pgqueue.checkpoints (job_id, lease_id, worker_id, kind, name, key, version, value)
    select i.id, i.lease_id, worker, r.kind, r.name, r.key, r.version,
           jsonb_build_object('until', coalesce(moment + make_interval(secs => r.delay), --+ no_end))
           || case r.kind when 'wait' then jsonb_build_object('names', r.names) else '{}' end
    from jsonb_to_recordset(leased) as i (id bigint, lease_id bigint, requests jsonb)
    cross join lateral jsonb_to_recordset(i.requests) as r (
        kind text, name text, key text, version smallint, delay float8, names jsonb)
    order by i.id, r.name, r.key
    on conflict (job_id, name, key) do nothing;

    with asleep as materialized (
        select i.id, i.progress || jsonb_build_object('at', moment) as progress, w.names, w.version, coalesce(w.until, moment) as until,
               (select true from pgqueue.signals s
                where s.job_id = i.id and s.name = any(w.names) and s.taken_by is null limit 1) as has_signal,
               (select true from pgqueue.checkpoints c
                where c.job_id = i.id and c.lease_id = i.lease_id limit 1) as has_checkpoint
        from jsonb_to_recordset(leased) as i (id bigint, lease_id bigint, progress jsonb, requests jsonb)
        cross join lateral (
            select min(r.version) as version, min((c.value ->> 'until')::timestamptz) as until,
                   array_agg(n.name) filter (where n.name is not null) as names
            from jsonb_to_recordset(i.requests) as r (name text, key text, version smallint, names jsonb)
            cross join lateral (
                select c.value from pgqueue.checkpoints c where c.job_id = i.id and c.name = r.name and c.key = r.key offset 0) c
            left join lateral jsonb_array_elements_text(r.names) n (name) on true) w
    ), with_seats as materialized (
        select j.id, j.seats_taken, j.concurrency_key, j.queue from pgqueue.jobs_live j where j.id = any(own) and j.seats_taken is not null
    ), judged as materialized (
        select a.*, case when a.has_signal then 'signalled' when a.names is null then 'sleeping' when a.until <= moment then 'timed_out'
                         else 'waiting' end as reason
        from asleep a
    ), back as (
        update pgqueue.jobs_live j
        set state = case v.reason when 'waiting' then 'waiting' else 'pending' end, worker_id = null, seats_taken = null,
            waits_for = case v.reason when 'waiting' then v.names end,
            run_at = case v.reason when 'signalled' then moment else v.until end,
            attempt = case when v.has_checkpoint then 0 else j.attempt - 1 end, expires_at = null,
            version = coalesce(j.version, v.version), progress = coalesce(v.progress, j.progress)
        from judged v
        where j.id = any(own) and j.id = v.id
        returning j.id, j.lease_id, j.attempt, j.run_at, j.state, j.queue, j.cancel_requested, v.reason
    ), noted as (
        insert into pgqueue.transitions (job_id, lease_id, worker_id, run_at, attempt, from_state, to_state, reason)
        select b.id, b.lease_id, worker, b.run_at, b.attempt, 'running', b.state, b.reason from back b
    ), released as (
        select --+ giving_back s
        from with_seats s cross join lateral generate_series(1, cardinality(s.seats_taken), 2) i
        having count(*) > 0
    )
    select array_agg(distinct b.queue::text) filter (where b.state = 'pending' and b.run_at <= moment + interval '1 second'),
           array_agg(b.id) filter (where b.cancel_requested)
    into queues, asked
    from back b left join released r on true;

    if asked is not null then
        perform from pgqueue.finish_overdue(asked, clock_timestamp());
    end if;
    perform pgqueue.wake(q.queue) from unnest(queues) q (queue);
    return query select unnest(own);
end
$function$;
