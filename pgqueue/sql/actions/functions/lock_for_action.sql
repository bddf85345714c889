-- Locks the jobs with these ids that an action can change, skipping locked ones, and returns what act() must know of them. `before` is what
-- an undo needs, except for a delete. An edit never locks a running job, because its worker could not settle it meanwhile (edit.sql).
-- Jobs come in the order of their ids; for a retry, in the order of their unique keys, as in insert_jobs.sql, so that two transactions that
-- take several keys do not wait for each other.
create or replace function pgqueue.lock_for_action(action text, ids bigint[])
returns table (id bigint, state text, is_node boolean, waits_for text[], before jsonb)
language plpgsql
set search_path = pg_catalog, pg_temp
set plan_cache_mode = force_generic_plan
set enable_seqscan = off
set enable_hashjoin = off
set enable_mergejoin = off
as $function$
#variable_conflict use_column
declare
    wanted constant bigint[] := array(select distinct i.id from unnest(ids) i (id) order by i.id);
begin
    if action in ('edit', 'run_now') then
        return query
        select j.id, j.state, j.workflow_id is not null, j.waits_for,
               jsonb_build_object('lease_id', j.lease_id, 'former', pgqueue.editable(j))
        from pgqueue.jobs j
        where j.id = any(wanted) and j.state in ('pending', 'retrying', 'waiting')
        order by j.id for update of j skip locked;
    elsif action = 'cancel' then
        return query
        select j.id, j.state, j.workflow_id is not null, j.waits_for,
               jsonb_build_object('lease_id', j.lease_id, 'state', j.state, 'waits_for', j.waits_for, 'undeclared', j.undeclared)
        from pgqueue.jobs_live j
        where j.id = any(wanted)
        order by j.id for update of j skip locked;
    elsif action = 'retry' then
        return query
        with locked as materialized (
            select j.*
            from pgqueue.jobs j
            where j.id = any(wanted) and j.state in ('dead', 'cancelled')
            order by j.id for update of j skip locked
        )
        select l.id, l.state, l.workflow_id is not null, null::text[],
               jsonb_build_object(
                   'lease_id', l.lease_id, 'state', l.state, 'finished_at', l.finished_at, 'started_at', l.started_at, 'attempt', l.attempt,
                   'worker_id', l.worker_id, 'run_at', l.run_at, 'expires_at', l.expires_at, 'deadline_at', l.deadline_at,
                   'crash_count', l.crash_count, 'cancel_requested', l.cancel_requested)
        from locked l
        order by l.task collate "C", l.unique_key collate "C", l.id;
    else
        return query
        select j.id, j.state, j.workflow_id is not null, j.waits_for, null::jsonb
        from pgqueue.jobs j
        where j.id = any(wanted) and j.state in ('pending', 'retrying', 'waiting', 'dead', 'completed', 'cancelled')
        order by j.id for update of j skip locked;
    end if;
end
$function$;
