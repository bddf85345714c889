-- Makes a dead or cancelled job pending again. It is due now, and has all its attempts again. Its lease_id goes on growing, so a worker
-- that still believes in an old lease can write nothing. If an expiry or a deadline has passed, it is removed.
-- A node of a workflow runs again with everything behind it, as retry_workflow() says. So does a job that undoes a node.
-- Returns 'revived', 'unique_key' if an unfinished job has its key now, or the state of a job that is neither dead nor cancelled; null if
-- there is no such job.
create or replace function pgqueue.revive(job bigint)
returns text
language plpgsql
set search_path = pg_catalog, pg_temp
as $function$
declare
    revived bigint;
    now_is  text;
    node    record;
begin
    select n.workflow_id, w.kind = 'batch' as is_of_batch, n.name, n.undoes into node
    from pgqueue.nodes n join pgqueue.workflows w on w.id = n.workflow_id
    where n.id = job and n.state in ('dead', 'cancelled') and not n.is_gate;
    if found then
        if node.is_of_batch or node.undoes is not null then
            perform pgqueue.retry_nodes(node.workflow_id, array[job]);
        else
            perform pgqueue.retry_workflow(node.workflow_id, node.name);
        end if;
        perform pgqueue.notify('');
        return 'revived';
    end if;
    with gone as (
        select j.* from pgqueue.jobs j
        where j.id = job and j.state in ('dead', 'cancelled')
        for update
    ), back as (
        insert into pgqueue.jobs_live as l (
            --+ lasting,
            --+ documents,
            id, run_at, state, expires_at, deadline_at, progress, last_error)
        select
            --+ lasting g,
            --+ documents g,
            g.id, clock_timestamp(), 'pending', case when g.expires_at > clock_timestamp() then g.expires_at end,
            case when g.deadline_at > clock_timestamp() then g.deadline_at end, g.progress, g.last_error
        from gone g
        on conflict do nothing
        returning l.id
    ), noted as (
        insert into pgqueue.transitions (job_id, lease_id, attempt, from_state, to_state, reason)
        select g.id, g.lease_id, g.attempt, g.state, 'pending', 'revived' from gone g join back using (id)
    ), removed as (
        delete from pgqueue.jobs_dead d using back b where d.id = b.id
    ), taken as (
        delete from pgqueue.jobs_done d using back b where d.id = b.id
    )
    select b.id into revived from back b;
    if revived is not null then
        perform pgqueue.notify('');
        return 'revived';
    end if;
    select j.state into now_is from pgqueue.jobs j where j.id = job order by j.finished_at nulls first limit 1;
    return case when now_is in ('dead', 'cancelled') then 'unique_key' else now_is end;
end
$function$;
