-- Writes the rows of idempotency_keys for jobs that enqueue_many is about to store. A job with an idempotency_key, a throttle or a debounce
-- has such a row. For a throttle or a debounce, the key in the row has a prefix, so that it cannot be the same as an idempotency_key.
-- If several jobs of one call have the same key, the first of these jobs leads, and the others follow it: they are not stored. If the jobs
-- are debounced, the last of them leads.
-- Each item of `jobs` is one job. Returns for each job: its id, or the id of the job that has its key; the state (null: to be looked up
-- later); the conflict; and whether the job is not to be inserted.
-- Also returns, in key order, for each job with such a key: the job's place and task, the key and its kind, and the place of the job that
-- leads.
-- Locks rows of idempotency_keys in key order, so that two calls cannot deadlock, then a job that a debounce replaces. A row that has not
-- expired stays as it is. But it is locked too, so that in the meantime no other call can give it to another job. Uses the index
-- idempotency_keys_pkey.
create or replace function pgqueue.take_idempotency_keys(jobs jsonb, new_ids bigint[], moment timestamptz,
    out ids bigint[], out states text[], out conflicts text[], out left_out boolean[],
    out places integer[], out tasks text[], out keys text[], out kinds text[], out leaders integer[])
language plpgsql
set search_path = pg_catalog, pg_temp
as $function$
#variable_conflict use_column
declare
    prints bytea[];   -- hashes of the arguments, for an idempotency_key
    ttls   float8[];
    known  record;
    now_is text;
begin
    ids := new_ids;
    states := array_fill('pending'::text, array[cardinality(new_ids)]);
    conflicts := array_fill(null::text, array[cardinality(new_ids)]);
    left_out := array_fill(false, array[cardinality(new_ids)]);

    select array_agg(w.item), array_agg(w.task), array_agg(w.key), array_agg(w.kind), array_agg(w.leader), array_agg(w.fingerprint),
           array_agg(w.ttl)
    into places, tasks, keys, kinds, leaders, prints, ttls
    from (
        select n.*, case when n.kind = 'debounce' then max(n.item) over same else min(n.item) over same end as leader
        from (
            select i.item, i.task, k.kind, k.ttl,
                   case when k.kind = 'idempotency_key' then k.name
                        when octet_length(k.name) <= 240 then format('pgq:%s:%s', k.kind, k.name)
                        else format('pgq:%s:sha256:%s', k.kind, encode(sha256(convert_to(k.name, 'UTF8')), 'hex'))
                   end as key,
                   case when k.kind = 'idempotency_key' then sha256(convert_to(i.args::text, 'UTF8')) else '' end as fingerprint
            from pgqueue.job_items(jobs, null, moment) i
            cross join lateral (values
                ('idempotency_key', i.idempotency_key, coalesce(i.idempotency_ttl, 604800)),
                ('throttle', case when i.throttle is not null then i.held_key end, i.throttle),
                ('debounce', case when i.debounce is not null then i.held_key end, greatest(i.debounce, i.debounce_max) + 604800)
            ) as k(kind, name, ttl)
            where k.name is not null
        ) n
        window same as (partition by n.task collate "C", n.key collate "C")
        order by n.task collate "C", n.key collate "C", n.item
    ) w;

    -- The row of a debounce is valid as long as its job can be replaced. replace_job() below finds out whether it can.
    insert into pgqueue.idempotency_keys as k (task, key, job_id, fingerprint, expires_at)
    select o.task, o.key, new_ids[o.item], o.fingerprint, moment + make_interval(secs => o.ttl)
    from unnest(places, tasks, keys, leaders, prints, ttls) as o(item, task, key, leader, fingerprint, ttl)
    where o.item = o.leader
    order by o.task collate "C", o.key collate "C"
    on conflict (task, key) do update
        set job_id = excluded.job_id, fingerprint = excluded.fingerprint, created_at = clock_timestamp(),
            expires_at = excluded.expires_at, state = null, result = null, error = null
        where k.expires_at <= moment and not starts_with(k.key, 'pgq:debounce:');

    for known in
        select o.item, o.kind, o.item = o.leader as leads, k.job_id, k.task, k.key,
               k.fingerprint = o.fingerprint as is_same, jobs -> o.item - 1 as body
        from unnest(places, tasks, keys, kinds, leaders, prints) with ordinality as o(item, task, key, kind, leader, fingerprint, n)
        cross join lateral (
            select k.job_id, k.task, k.key, k.fingerprint from pgqueue.idempotency_keys k
            where k.task = o.task and k.key = o.key offset 0) k  -- offset 0: one index probe for each key, even if the statistics are stale
        where k.job_id <> new_ids[o.item]
        -- Keys for which no job is replaced come first, because one of them can refuse the whole call.
        order by o.kind = 'debounce' and o.item = o.leader, o.n
    loop
        if known.kind = 'debounce' and known.leads then
            exit when conflicts && array['idempotency_mismatch', 'duplicate'];
            now_is := pgqueue.replace_job(known.job_id, known.body, moment);
            if now_is is null then
                update pgqueue.idempotency_keys k
                set job_id = new_ids[known.item], created_at = clock_timestamp(), state = null, result = null, error = null,
                    expires_at = moment + make_interval(secs => greatest((known.body ->> 'debounce')::float8,
                                                                         (known.body ->> 'debounce_max')::float8) + 604800)
                where k.task = known.task and k.key = known.key;
                continue;
            end if;
            states[known.item] := now_is;
        else
            states[known.item] := null;
        end if;
        ids[known.item] := known.job_id;
        left_out[known.item] := true;
        conflicts[known.item] := case
            when known.kind = 'throttle' and known.body ->> 'on_conflict' = 'raise' then 'duplicate'
            when not known.is_same then 'idempotency_mismatch'
            else known.kind end;
    end loop;
end
$function$;
