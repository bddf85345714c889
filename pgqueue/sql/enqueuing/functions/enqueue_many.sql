-- Stores jobs in the caller's transaction: the one implementation of enqueuing, for Python and for SQL.
-- `jobs` is a JSON array of objects: task, and optionally args (or each: a list of args, of jobs that share the rest, and
--   keys: their unique_keys, idempotency_keys: theirs), queue, priority, run_at or delay (seconds), max_attempts, timeout (seconds), concurrency_key,
--   weight, ordering, tags, meta, trace_context, expires and deadline (each seconds from now, or a time as text),
--   wake (false: no NOTIFY, so that the transaction can be prepared; the next poll finds the job);
--   and what makes it a duplicate (functions/unique_key.sql, docs/rules/keys.md):
--   unique_key or unique (true, or names of arguments), with unique_for (seconds): one unfinished job may have the key;
--   on_conflict: skip, replace (an unfinished job that no worker has takes what is new), raise (nothing is stored);
--   throttle (seconds): the first job with the key, and no other for so long, whatever becomes of it;
--   debounce (seconds), debounce_max (seconds): each further one puts the job off and replaces it;
--   idempotency_key, idempotency_ttl (seconds, default 7 days): the request that has the key, and its outcome.
-- What an item does not say is as its task declares (pgqueue.tasks), unless it says declared: true, as Python does.
-- Returns one row a job, in order. created = false names the job that holds the key in `conflict`: unique_key, throttle,
--   debounce, idempotency_key; or idempotency_mismatch (same key, other arguments) or duplicate (on_conflict = raise), and
--   then nothing at all is stored. `result` and `error` are of a holder that is finished; state deleted: it is not known.
-- A duplicate is a row, never an error, so it cannot abort the caller's transaction.
-- Locks: rows of idempotency_keys, then unique keys or, of jobs that are replaced, rows, each in key order, so that two
--   batches cannot deadlock. Waits for another transaction only where that one holds the same key. Never touches a row that
--   all enqueuers share: rows of pgqueue.queues are made by workers, not here.
create or replace function pgqueue.enqueue_many(jobs jsonb)
returns table (item integer, id bigint, created boolean, state text, conflict text, result jsonb, error text)
language plpgsql
set search_path = pg_catalog, pg_temp
set plan_cache_mode = force_generic_plan  -- planning again at each call costs ten times the insert
set enable_seqscan = off  -- jobs and keys are found by their indexes, whatever the statistics say
as $function$
#variable_conflict use_column
declare
    moment    timestamptz := clock_timestamp();
    asked     record;     -- what check_jobs found
    own       record;     -- of the jobs with a row in idempotency_keys: places, tasks, keys, kinds, leaders
    taken     record;     -- what insert_jobs returned
    held      record;
    new_ids   bigint[];
    found_ids bigint[];
    states    text[];     -- null: to be looked up at the end
    conflicts text[];
    left_out  boolean[];  -- null: none
    refused   boolean := false;
    how       text := 'quick';
    one_by_one boolean;
    bare      jsonb;      -- the jobs as they came, if they leave anything to their tasks
    holder    bigint;
    now_is    text;
begin
    asked := pgqueue.check_jobs(jobs);
    if asked.undeclared then
        bare := jobs;
        jobs := pgqueue.with_declared(jobs);
        asked := pgqueue.check_jobs(jobs);
    end if;
    if asked.size = 0 then
        return;
    end if;
    new_ids := array(select nextval('pgqueue.jobs_id_seq') from generate_series(1, asked.size));
    found_ids := new_ids;
    states := array_fill('pending'::text, array[asked.size]);
    conflicts := array_fill(null::text, array[asked.size]);
    if asked.keyed or asked.replacing or asked.raising then
        left_out := array_fill(false, array[asked.size]);
        jobs := pgqueue.split_each(jobs);
    end if;

    if asked.keyed then
        -- A throttled or debounced job holds its key by such a row, too, under a name that only they have. Several jobs with
        -- one key in one call follow the first, or the last if they are debounced.
        select array_agg(w.place) as places, array_agg(w.task) as tasks, array_agg(w.key) as keys, array_agg(w.kind) as kinds,
               array_agg(w.leader) as leaders, array_agg(w.fingerprint) as fingerprints, array_agg(w.ttl) as ttls
        into own
        from (
            select n.*, case when n.kind = 'debounce' then max(n.place) over same else min(n.place) over same end as leader
            from (
                select i.item as place, i.task, k.kind, k.ttl,
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
            order by n.task collate "C", n.key collate "C", n.place
        ) w;

        -- A row that is in its time stays as it is, but is locked, so that its job cannot change hands meanwhile.
        -- That of a debounce is in its time as long as its job is pending, which is seen below.
        insert into pgqueue.idempotency_keys as k (task, key, job_id, fingerprint, expires_at)
        select o.task, o.key, new_ids[o.place], o.fingerprint, moment + make_interval(secs => o.ttl)
        from unnest(own.places, own.tasks, own.keys, own.leaders, own.fingerprints, own.ttls)
             as o(place, task, key, leader, fingerprint, ttl)
        where o.place = o.leader
        order by o.task collate "C", o.key collate "C"
        on conflict (task, key) do update
            set job_id = excluded.job_id, fingerprint = excluded.fingerprint, created_at = clock_timestamp(),
                expires_at = excluded.expires_at, state = null, result = null, error = null
            where k.expires_at <= moment and not starts_with(k.key, 'pgq:debounce:');

        for held in
            select o.place, o.kind, o.place = o.leader as leads, k.job_id, k.task, k.key,
                   k.fingerprint = o.fingerprint as is_same, jobs -> o.place - 1 as body
            from unnest(own.places, own.tasks, own.keys, own.kinds, own.leaders, own.fingerprints) with ordinality
                 as o(place, task, key, kind, leader, fingerprint, n)
            cross join lateral (
                select k.job_id, k.task, k.key, k.fingerprint from pgqueue.idempotency_keys k
                where k.task = o.task and k.key = o.key offset 0) k  -- each by the index, whatever the statistics say
            where k.job_id <> new_ids[o.place]
            order by o.kind = 'debounce' and o.place = o.leader, o.n  -- what only finds first: it may refuse all
        loop
            if held.kind = 'debounce' and held.leads then
                exit when array_position(conflicts, 'idempotency_mismatch') is not null or array_position(conflicts, 'duplicate') is not null;
                now_is := pgqueue.replace_job(held.job_id, held.body, moment);
                if now_is is null then
                    update pgqueue.idempotency_keys k
                    set job_id = new_ids[held.place], created_at = clock_timestamp(), state = null, result = null, error = null,
                        expires_at = moment + make_interval(secs => greatest((held.body ->> 'debounce')::float8,
                                                                             (held.body ->> 'debounce_max')::float8) + 604800)
                    where k.task = held.task and k.key = held.key;
                    continue;
                end if;
                states[held.place] := now_is;
            else
                states[held.place] := null;
            end if;
            found_ids[held.place] := held.job_id;
            left_out[held.place] := true;
            conflicts[held.place] := case
                when held.kind = 'throttle' and held.body ->> 'on_conflict' = 'raise' then 'duplicate'
                when not held.is_same then 'idempotency_mismatch'
                else held.kind end;
        end loop;
        refused := array_position(conflicts, 'idempotency_mismatch') is not null or array_position(conflicts, 'duplicate') is not null;
    end if;

    one_by_one := asked.replacing;
    if not refused and not one_by_one and asked.uniques > 1 then
        loop
            begin
                taken := pgqueue.insert_jobs(jobs, new_ids, left_out, moment, how);
                exit;
            exception when sqlstate 'PQ000' or unique_violation then
                if how = 'ordered' and sqlstate <> 'PQ000' then
                    raise;  -- by no key of ours
                end if;
                one_by_one := how = 'ordered';
                exit when one_by_one;
                how := 'ordered';
            end;
        end loop;
    end if;

    if not refused and one_by_one then
        -- One after the other in key order: nothing is locked that a key before it would have to wait for.
        if left_out is null then
            left_out := array_fill(false, array[asked.size]);
            jobs := pgqueue.split_each(jobs);
        end if;
        for held in
            select i.item as place, i.on_conflict, jobs -> i.item - 1 as body
            from pgqueue.job_items(jobs, left_out, moment) i
            where i.unique_key is not null
            order by i.task collate "C", i.unique_key collate "C", i.item
        loop
            left_out[held.place] := true;
            for rounds in 1 .. 100 loop
                select s.holders[1], s.states[1] into holder, now_is
                from pgqueue.insert_jobs(jsonb_build_array(held.body), array[new_ids[held.place]], null, moment, 'alone') s;
                exit when holder is null;
                if held.on_conflict = 'replace' then
                    now_is := pgqueue.replace_job(holder, held.body, moment);
                    if now_is is null then  -- a worker has it, or had, or it is over: then its key may be free now
                        select j.state into now_is from pgqueue.jobs_live j where j.id = holder;
                        if rounds = 100 and now_is is distinct from 'running' then
                            raise insufficient_privilege using
                                message = format('pgqueue: job %s holds the unique key, and row level security does not let this role replace it', holder);
                        end if;
                        continue when now_is is null or now_is in ('pending', 'retrying');
                    end if;
                end if;
                found_ids[held.place] := holder;
                states[held.place] := now_is;
                conflicts[held.place] := case held.on_conflict when 'raise' then 'duplicate' else 'unique_key' end;
                exit;
            end loop;
        end loop;
    end if;

    if not refused then
        if one_by_one or asked.uniques <= 1 then
            taken := pgqueue.insert_jobs(jobs, new_ids, left_out, moment, 'alone');
        end if;
        if bare is not null then
            perform pgqueue.mark_undeclared(bare, new_ids);
        end if;
        if taken.places is null and not asked.keyed and not one_by_one then
            return query
                select n.place::int, n.id, true, 'pending', null::text, null::jsonb, null::text
                from unnest(new_ids) with ordinality as n(id, place);
            return;
        end if;
        for n in 1 .. coalesce(cardinality(taken.places), 0) loop
            found_ids[taken.places[n]] := taken.holders[n];
            states[taken.places[n]] := taken.states[n];
            conflicts[taken.places[n]] := case when asked.raising and jobs -> taken.places[n] - 1 ->> 'on_conflict' = 'raise'
                                               then 'duplicate' else 'unique_key' end;
        end loop;
        refused := array_position(conflicts, 'duplicate') is not null;
    end if;

    if refused then
        delete from pgqueue.jobs_live j where j.id = any(new_ids);
    end if;
    if asked.keyed then
        -- A unique key that was held names the job of the idempotency key, too.
        for n in 1 .. coalesce(cardinality(own.places), 0) loop
            if refused then
                delete from pgqueue.idempotency_keys k
                where k.task = own.tasks[n] and k.key = own.keys[n] and k.job_id = new_ids[own.places[n]];
            elsif conflicts[own.places[n]] = 'unique_key' then
                update pgqueue.idempotency_keys k set job_id = found_ids[own.places[n]]
                where k.task = own.tasks[n] and k.key = own.keys[n] and k.job_id = new_ids[own.places[n]];
            end if;
        end loop;
        -- Followers go where their leader went.
        for n in 1 .. coalesce(cardinality(own.places), 0) loop
            if not refused and own.leaders[n] <> own.places[n] then
                found_ids[own.places[n]] := found_ids[own.leaders[n]];
                states[own.places[n]] := states[own.leaders[n]];
                conflicts[own.places[n]] := own.kinds[n];
            end if;
        end loop;
    end if;

    if not refused and array_position(states, null) is null then
        return query
            select r.place::int, r.id, r.conflict is null, r.state, r.conflict, null::jsonb, null::text
            from unnest(found_ids, states, conflicts) with ordinality as r(id, state, conflict, place);
        return;
    end if;
    return query
        select r.place::int, r.id, not refused and r.conflict is null,
               case when not refused or r.conflict is not null then coalesce(r.state, j.state, k.state, 'deleted') end, r.conflict,
               coalesce(j.result, k.result), coalesce(j.error, k.error)
        from unnest(found_ids, states, conflicts) with ordinality as r(id, state, conflict, place)
        left join lateral (
            select j.state, j.result, case when j.finished_at is not null then j.last_error end as error
            from pgqueue.jobs j where r.state is null and j.id = r.id order by j.finished_at nulls first limit 1) j on true
        left join lateral (
            select k.state, k.result, k.error
            from pgqueue.idempotency_keys k where j.state is null and k.job_id = r.id and k.state is not null limit 1) k on true
        order by r.place;
end
$function$;
