-- Turns the declarations of an app's tasks into rows, for jobs that SQL enqueues. `declared` is an array of objects: name, options (as in
-- enqueue_many), keep, and redact: the paths of the values that people must not see (model/redaction.py). A worker of an early version does
-- not declare redact; then what another worker has declared stays.
-- Workers of several deploys of an app can run at the same time. In this case, the newest declaration of each task is in force: the
-- declaration whose first report is the most recent. An older declaration comes into force again when no worker has reported the newer
-- declaration for `seconds` (a rollback).
-- SQL can store jobs before a worker has reported their task. The column `undeclared` lists the options that such a job left out. These
-- options are set here from the declaration. If a job is locked at this moment, a later call sets its options.
-- Locks the rows of pgqueue.tasks that change, in the order of their names, and the jobs whose options it sets.
create or replace function pgqueue.sync_tasks(app text, declared jsonb, seconds float8)
returns void
language sql
set search_path = pg_catalog, pg_temp
as $function$
    with told as (
    insert into pgqueue.tasks as t (name, app, options, keep, redact, digest)
    select d.name, sync_tasks.app, d.options, d.keep, d.redact, md5(concat(d.options, d.keep, nullif(d.redact, '{}')))
    from jsonb_to_recordset(sync_tasks.declared) as d (name text, options jsonb, keep text, redact jsonb)
    order by d.name collate "C"
    on conflict (name) do update
    set app = excluded.app, options = excluded.options, keep = excluded.keep, redact = coalesce(excluded.redact, t.redact),
        digest = excluded.digest,
        seen_at = excluded.seen_at,
        since = case when t.digest = excluded.digest then t.since else excluded.since end,
        former_digests = case when t.digest = excluded.digest then t.former_digests
                      when excluded.digest = any(t.former_digests) then array[t.digest]
                      else array_append(t.former_digests[greatest(cardinality(t.former_digests) - 8, 1):], t.digest) end
    where case when t.digest = excluded.digest then t.seen_at < clock_timestamp() - make_interval(secs => seconds / 5)
               else excluded.digest <> all(t.former_digests) or t.seen_at < clock_timestamp() - make_interval(secs => seconds) end
    returning t.name, t.options
    ), waiting as (
        select j.ctid as spot, t.options
        from told t
        join pgqueue.jobs_live j on j.task = t.name and j.undeclared is not null
        where j.state in ('pending', 'retrying', 'waiting')
        for update of j skip locked
    )
    update pgqueue.jobs_live j
    set queue = case when 'queue' = any(j.undeclared) then coalesce(w.options ->> 'queue', 'default') else j.queue end,
        max_attempts = case when 'max_attempts' = any(j.undeclared)
                            then least(greatest(coalesce((w.options ->> 'max_attempts')::int, 6), j.attempt + 1), 10000) else j.max_attempts end,
        priority = case when 'priority' = any(j.undeclared) then coalesce((w.options ->> 'priority')::smallint, 0)
                        else j.priority end,
        timeout = case when 'timeout' = any(j.undeclared) then make_interval(secs => (w.options ->> 'timeout')::float8)
                       else j.timeout end,
        undeclared = null
    from waiting w
    where j.ctid = w.spot
$function$;
