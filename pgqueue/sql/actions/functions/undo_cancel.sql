-- Brings a job back that was cancelled and has not changed since, in its former state. Returns undone, or why not (undo.sql). The caller has
-- locked the job.
create or replace function pgqueue.undo_cancel(job bigint, before jsonb)
returns text
language plpgsql
set search_path = pg_catalog, pg_temp
as $function$
declare
    wrong text;
    back  bigint;
begin
    select case when j.state <> 'cancelled' then j.state
                when before ->> 'state' = 'running' then 'moved on'
                when j.lease_id <> (before ->> 'lease_id')::bigint then 'moved on'
                when j.workflow_id is not null then 'node'
                when pgqueue.refusal('delete', 'waiting', false,
                                     (jsonb_populate_record(null::pgqueue.jobs, before)).waits_for) = 'children' then 'children' end
    into wrong
    from pgqueue.jobs j where j.id = job order by j.finished_at nulls first limit 1;
    if not found then
        return 'not found';
    elsif wrong is not null then
        return wrong;
    end if;
    with gone as (
        select j.* from pgqueue.jobs j where j.id = job and j.state = 'cancelled'
    ), stored as (
        insert into pgqueue.jobs_live as l (
            --+ lasting,
            --+ documents,
            id, run_at, started_at, attempt, expires_at, deadline_at, crash_count, progress, last_error, state, waits_for, undeclared)
        select
            --+ lasting g,
            --+ documents g,
            g.id, g.run_at, g.started_at, g.attempt, g.expires_at, g.deadline_at, g.crash_count, g.progress, g.last_error,
            b.state, b.waits_for, b.undeclared
        from gone g cross join lateral jsonb_populate_record(null::pgqueue.jobs, before) b
        on conflict do nothing
        returning l.id, l.lease_id, l.attempt, l.state, l.run_at
    ), noted as (
        insert into pgqueue.transitions (job_id, lease_id, attempt, from_state, to_state, reason, run_at)
        select s.id, s.lease_id, s.attempt, 'cancelled', s.state, 'undone', s.run_at from stored s
    ), removed as (
        delete from pgqueue.jobs_done d using stored s where d.id = s.id
    )
    select s.id into back from stored s;
    return case when back is null then 'unique_key' else 'undone' end;
end
$function$;
