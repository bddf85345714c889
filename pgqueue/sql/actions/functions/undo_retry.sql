-- Makes a job dead or cancelled again that was revived, and that no worker has claimed since. Returns undone, or why not (undo.sql). The
-- caller has locked the job. Its last traceback comes back from the transitions.
create or replace function pgqueue.undo_retry(job bigint, before jsonb)
returns text
language plpgsql
set search_path = pg_catalog, pg_temp
as $function$
declare
    wrong text;
begin
    select case when j.state <> 'pending' then j.state
                when j.lease_id <> (before ->> 'lease_id')::bigint or j.attempt <> 0 then 'moved on'
                when j.workflow_id is not null then 'node' end
    into wrong
    from pgqueue.jobs j where j.id = job order by j.finished_at nulls first limit 1;
    if not found then
        return 'not found';
    elsif wrong is not null then
        return wrong;
    end if;
    with gone as (
        delete from pgqueue.jobs_live j where j.id = job returning j.*
    ), stored as (
        insert into pgqueue.jobs (
            --+ lasting,
            --+ documents,
            id, worker_id, run_at, started_at, finished_at, attempt, expires_at, deadline_at, crash_count, cancel_requested, state,
            progress, last_error, last_traceback)
        select
            --+ lasting g,
            --+ documents g,
            g.id, b.worker_id, b.run_at, b.started_at, b.finished_at, b.attempt, b.expires_at, b.deadline_at, b.crash_count, b.cancel_requested,
            b.state, g.progress, g.last_error,
            (select t.traceback from pgqueue.transitions t
             where t.job_id = job and t.traceback is not null and b.state = 'dead' order by t.at desc limit 1)
        from gone g cross join lateral jsonb_populate_record(null::pgqueue.jobs, before) b
    )
    insert into pgqueue.transitions (job_id, lease_id, attempt, from_state, to_state, reason)
    select g.id, g.lease_id, (before ->> 'attempt')::smallint, 'pending', before ->> 'state', 'undone' from gone g;
    return 'undone';
end
$function$;
