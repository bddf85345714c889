-- Makes a job dead, with the reason undecodable. It is called when a statement over many jobs fails because of this one job
-- (pgqueue/database/sifting.py), so that the job no longer stops the others.
-- First it moves the job's row as it is. If that fails too, it moves the row without the job's documents. If a living worker knows the
-- job's hook on_dead, a job is stored for that hook.
-- Leaves the job alone if it has ended. Leaves it alone also if it runs under a living worker other than `worker`, because that worker ends
-- it.
-- Another dead job can have the same id (because an enqueuer chose the id, or because the sequence is behind the ids in the tables). In
-- this case, the new dead job gets a free id, and its error says under which id it was enqueued. The hook's job gets a free id too.
-- Uses the index jobs_live_id_key. Locks the job, then the seats that it holds. Returns the job's task; null: the job was left alone.
create or replace function pgqueue.make_dead(job bigint, worker bigint, why text)
returns text
language plpgsql
set search_path = pg_catalog, pg_temp
set enable_seqscan = off
as $function$
declare
    made_dead text;
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
                returning
                    --+ lasting j,
                    number as id, j.worker_id, j.run_at, j.started_at, j.attempt, j.expires_at, j.deadline_at, clock_timestamp() as finished_at,
                    'dead' as state, j.crash_count, j.cancel_requested, why as last_error, j.state as former,
                    case when bare = 0 then j.seats_taken end as seats_taken, case when bare = 0 then j.tags else '{}' end as tags,
                    case when bare = 0 then j.args else '{}' end as args, case when bare = 0 then j.meta else '{}' end as meta,
                    case when bare = 0 then j.trace_context end as trace_context, case when bare = 0 then j.progress end as progress
            ), moved as (
                insert into pgqueue.jobs_dead (
                    --+ ended,
                    finished_at, state, crash_count, cancel_requested, progress, last_error)
                select
                    --+ ended g,
                    g.finished_at, g.state, g.crash_count, g.cancel_requested, g.progress, g.last_error
                from gone g
            ), noted as (
                insert into pgqueue.transitions (job_id, lease_id, worker_id, attempt, from_state, to_state, reason, error)
                select g.id, g.lease_id, g.worker_id, g.attempt, g.former, 'dead', 'undecodable', why from gone g
            ), released as (
                select --+ giving_back g
                from gone g cross join lateral generate_series(1, cardinality(g.seats_taken), 2) i
                where g.former = 'running'
                having count(*) > 0
            ), resolved as (
                select pgqueue.resolve(array[job], array['dead'], array[null]::jsonb[], array[why]) as released
                from gone g where g.workflow_id is not null
                having count(*) > 0
            ), told as (
                insert into pgqueue.jobs_live as h (id, task, queue, priority, args, stored_by_pgqueue)
                select pgqueue.free_id(), k.hook, 'pgqueue.hooks', g.priority, pgqueue.hook_args(to_jsonb(g) - 'former', 'undecodable', why, null), true
                from gone g cross join lateral (select g.task || ':on_dead') k (hook)
                where exists (select from pgqueue.workers w
                              where k.hook = any(w.tasks) and w.state in ('running', 'draining') and w.expires_at > clock_timestamp())
                returning pgqueue.wake(h.queue)
            )
            select g.task into made_dead from gone g left join released on true left join resolved on true left join told on true;
            return made_dead;
        exception
            when data_exception or program_limit_exceeded or integrity_constraint_violation or internal_error then
                if bare = 1 then
                    raise;
                end if;
        end;
    end loop;
end
$function$;
