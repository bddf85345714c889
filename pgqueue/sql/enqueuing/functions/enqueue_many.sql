-- Stores jobs in the caller's transaction. This is the one implementation of enqueuing, for Python and for SQL.
-- docs/internals/enqueuing.md shows the steps, and why a plain insert fails.
-- `jobs` is a JSON array of objects, which are called items. Each item has a task, and can have:
--   args; or `each`, a list with the args of several jobs that share all other options of the item. Beside `each`, the item can have
--     `keys`, a list of the unique_keys of these jobs, and `idempotency_keys`, a list of their idempotency_keys;
--   queue, priority, run_at or delay (seconds), max_attempts, timeout (seconds), concurrency_key, weight, ordering, tags, meta,
--     trace_context, expires and deadline (both are a number of seconds from now, or a time as text);
--   wake (false: no NOTIFY is sent, so that the transaction can be prepared for a two-phase commit; the next poll finds the job).
-- These options decide whether a job is a duplicate (functions/unique_key.sql, docs/rules/keys.md):
--   unique_key or unique (true, or a list of names of arguments), with unique_for (seconds): only one unfinished job can have the key;
--   on_conflict: skip, replace (the unfinished job gets the new values if no worker has it), raise (nothing is stored);
--   throttle (seconds): for this time only the first job with the key is stored, even if that job ends earlier;
--   debounce (seconds), debounce_max (seconds): each further job with the key postpones the first job and replaces its values;
--   idempotency_key, idempotency_ttl (seconds, default 7 days): for this time, further calls with the key store no job. They return the
--     first job, and how it ended.
-- If an item leaves out an option, the declaration of its task (pgqueue.tasks) applies. It does not apply to an item with declared: true.
-- Python sends this, because it has added the declaration's options itself.
-- Returns one row for each job, in order. If another job has the key, `created` is false, `id` is the id of that other job, and `conflict`
-- is the kind of conflict: unique_key, throttle, debounce or idempotency_key; or idempotency_mismatch (the same key with other arguments)
-- or duplicate (on_conflict = raise).
-- If one row has idempotency_mismatch or duplicate, nothing at all is stored. If the other job is finished, `result` and `error` are those
-- of the other job. `state` is deleted if the state of the other job is no longer known.
-- A duplicate is a row and never an error, so it cannot abort the caller's transaction.
-- Locks rows of idempotency_keys, then unique keys or the rows of jobs that are replaced. All these are locked in key order, so that two
-- batches cannot deadlock.
-- Waits for another transaction only if that transaction holds the same key. Never touches a row that all enqueuers share. For this reason
-- it does not make rows of pgqueue.queues: workers do that.
-- Uses the indexes idempotency_keys_pkey, jobs_live_unique_key and jobs_live_id_key. Zero rows: `jobs` is empty.
create or replace function pgqueue.enqueue_many(jobs jsonb)
returns table (item integer, id bigint, created boolean, state text, conflict text, result jsonb, error text)
language plpgsql
set search_path = pg_catalog, pg_temp
set plan_cache_mode = force_generic_plan  -- planning at each call would cost ten times as much as the insert
set enable_seqscan = off  -- jobs and keys are found by their indexes, even if the statistics are stale
as $function$
#variable_conflict use_column
declare
    moment    timestamptz := clock_timestamp();
    asked     record;     -- what check_jobs returned
    own       record;     -- what take_idempotency_keys returned
    taken     record;     -- what insert_jobs returned
    new_ids   bigint[];
    -- These four arrays have one element for each job, in the order of the jobs.
    found_ids bigint[];
    states    text[];     -- a null is replaced at the end by the state of the job that has the key
    conflicts text[];
    left_out  boolean[];  -- true: the job is not inserted. If the array is null, all jobs are inserted
    refused   boolean := false;
    how       text := 'quick';
    one_by_one boolean;
    bare      jsonb;      -- the jobs as the caller passed them, if any job leaves options to its task
begin
    -- 1. Check the jobs, and add what their tasks declare.
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

    -- 2. Write the rows of idempotency_keys.
    if asked.keyed then
        own := pgqueue.take_idempotency_keys(jobs, new_ids, moment);
        found_ids := own.ids;
        states := own.states;
        conflicts := own.conflicts;
        left_out := own.left_out;
        refused := conflicts && array['idempotency_mismatch', 'duplicate'];
    end if;

    -- 3. Insert the jobs, which also takes their unique keys. If possible, one statement inserts all jobs: it is tried with `how` = quick,
    --    and then with `how` = ordered. If both fail, or if jobs are to be replaced, the jobs with a key are stored one by one.
    one_by_one := asked.replacing;
    if not refused and not one_by_one and asked.uniques > 1 then
        loop
            begin
                taken := pgqueue.insert_jobs(jobs, new_ids, left_out, moment, how);
                exit;
            exception when sqlstate 'PQ000' or unique_violation then
                if how = 'ordered' and sqlstate <> 'PQ000' then
                    raise;  -- a unique index that is not pgqueue's was violated
                end if;
                one_by_one := how = 'ordered';
                exit when one_by_one;
                how := 'ordered';
            end;
        end loop;
    end if;
    if not refused and one_by_one then
        if left_out is null then
            left_out := array_fill(false, array[asked.size]);
            jobs := pgqueue.split_each(jobs);
        end if;
        select s.ids, s.states, s.conflicts, s.left_out into found_ids, states, conflicts, left_out
        from pgqueue.store_one_by_one(jobs, new_ids, moment, found_ids, states, conflicts, left_out) s;
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

    -- 4. Return the result for each job. If one conflict refuses the whole call, nothing is stored. If two jobs of the call have the same
    --    key, the job that is not stored gets the id and the state of the other job.
    if refused then
        delete from pgqueue.jobs_live j where j.id = any(new_ids);
    end if;
    if asked.keyed then
        perform pgqueue.return_idempotency_keys(own.places, own.tasks, own.keys, new_ids, found_ids, conflicts, refused);
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
