-- Makes a job dead on which a statement over many jobs fails (pgqueue/database/sifting.py), so that it stops no other: reason undecodable.
-- Its row moves as it is; if that fails too, without what it carries. Tells its on_dead, if a living worker knows that hook.
-- Leaves alone what has ended, and what runs under a living worker other than `worker`: that one ends it. Returns the task; null: left alone.
-- Another dead job may have its id (an enqueuer chose it, or the sequence stands behind the tables): then it gets a free one, and its error
-- says under which id it was enqueued. So does the hook's job get a free id.
-- Finds the job by jobs_live_id_key and locks it, then the seats it holds.
create or replace function pgqueue.bury(job bigint, worker bigint, why text)
returns text
language plpgsql
set search_path = pg_catalog, pg_temp
set enable_seqscan = off
as $function$
declare
    buried text;
    number bigint := job;
begin
    if exists (select from pgqueue.jobs_dead d where d.id = job) then
        number := pgqueue.free_id();
        why := why || format(' It was enqueued under the id %s, which another dead job has.', job);
    end if;
    for bare in 0 .. 1 loop
        begin
            with gone as (
                delete from pgqueue.jobs_live j
                where j.id = job
                  and (j.state <> 'running' or j.worker_id = worker or not exists (
                      select from pgqueue.workers w
                      where w.id = j.worker_id and w.state in ('running', 'draining') and w.expires_at > clock_timestamp()))
                returning number as id, j.lease_id, j.worker_id, j.run_at, j.created_at, j.started_at, clock_timestamp() as finished_at, j.priority,
                    j.attempt, j.max_attempts, j.crash_count, j.cancel_requested, 'dead' as state, j.state as former, j.queue, j.task,
                    j.unique_key, j.concurrency_key, j.weight, j.ordering, j.expires_at, j.deadline_at, j.timeout,
                    case when bare = 0 then j.holds end as holds, case when bare = 0 then j.tags else '{}' end as tags,
                    case when bare = 0 then j.args else '{}' end as args, case when bare = 0 then j.meta else '{}' end as meta,
                    case when bare = 0 then j.trace_context end as trace_context, case when bare = 0 then j.progress end as progress,
                    why as last_error, j.ours
            ), moved as (
                insert into pgqueue.jobs_dead
                    (id, lease_id, worker_id, run_at, created_at, started_at, finished_at, priority, attempt, max_attempts, crash_count,
                     cancel_requested, state, queue, task, unique_key, concurrency_key, weight, ordering, expires_at, deadline_at,
                     timeout, tags, args, meta, trace_context, progress, last_error, ours)
                select g.id, g.lease_id, g.worker_id, g.run_at, g.created_at, g.started_at, g.finished_at, g.priority, g.attempt,
                       g.max_attempts, g.crash_count, g.cancel_requested, g.state, g.queue, g.task, g.unique_key, g.concurrency_key,
                       g.weight, g.ordering, g.expires_at, g.deadline_at,
                       g.timeout, g.tags, g.args, g.meta, g.trace_context, g.progress, g.last_error, g.ours
                from gone g
            ), noted as (
                insert into pgqueue.transitions (job_id, lease_id, worker_id, attempt, from_state, to_state, reason, error)
                select g.id, g.lease_id, g.worker_id, g.attempt, g.former, 'dead', 'undecodable', why from gone g
            ), released as (
                select pgqueue.release(array_agg(g.holds[i]), array_agg(coalesce(g.concurrency_key, '')), array_agg(g.holds[i + 1]),
                                       array_agg(g.queue::text))
                from gone g cross join lateral generate_series(1, cardinality(g.holds), 2) i
                where g.former = 'running'
                having count(*) > 0
            ), told as (
                insert into pgqueue.jobs_live as h (id, task, queue, priority, args, ours)
                select pgqueue.free_id(), k.hook, 'pgqueue.hooks', g.priority, pgqueue.hook_args(to_jsonb(g) - 'former', 'undecodable', why, null), true
                from gone g cross join lateral (select g.task || ':on_dead') k (hook)
                where exists (select from pgqueue.workers w
                              where k.hook = any(w.tasks) and w.state in ('running', 'draining') and w.expires_at > clock_timestamp())
                returning pgqueue.wake(h.queue)
            )
            select g.task into buried from gone g left join released on true left join told on true;
            return buried;
        exception
            when data_exception or program_limit_exceeded or integrity_constraint_violation or internal_error then
                if bare = 1 then
                    raise;
                end if;
        end;
    end loop;
end
$function$;
