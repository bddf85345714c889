-- All workflows that are no batches: how each of them goes, and how many of its nodes are in which state. Groups, and jobs that undo nodes,
-- are not counted. A node that was not needed, because nothing failed, does not make a workflow fail.
-- A workflow that failed or was cancelled is undoing while jobs undo its nodes. Then it is undone, or undo_failed if one of these jobs did
-- not complete.
create or replace view pgqueue.workflow_overview with (security_invoker) as
    select w.id, w.name, w.key,
           case when c.open > 0 and w.stop_reason is not null then 'stopping'
                when c.open > 0 then 'running'
                when c.undos_open > 0 or w.undone_at is null and c.undoable > 0 and (c.failed > 0 or w.stop_reason = 'workflow_cancelled') then 'undoing'
                when c.undos_failed > 0 then 'undo_failed'
                when w.undone_at is not null then 'undone'
                when w.stop_reason = 'workflow_cancelled' then 'cancelled'
                when c.failed > 0 then 'failed'
                else 'completed' end as state,
           w.on_failure, c.nodes, c.open, c.completed, c.dead, c.cancelled, w.created_at,
           case when c.open + c.undos_open = 0 then greatest(w.created_at, c.ended_at) end as ended_at, w.undone_at
    from pgqueue.workflows w
    cross join lateral (
        select count(*) filter (where n.undoes is null) as nodes, count(*) filter (where n.state is null and n.undoes is null) as open,
               count(*) filter (where n.state = 'completed' and n.undoes is null) as completed,
               count(*) filter (where n.state = 'dead' and n.undoes is null) as dead,
               count(*) filter (where n.state = 'cancelled' and n.undoes is null) as cancelled,
               count(*) filter (where n.state <> 'completed' and n.undoes is null and not (n.needs = 'failed' and n.failed = 0)) as failed,
               count(*) filter (where n.state is null and n.undoes is not null) as undos_open,
               count(*) filter (where n.state <> 'completed' and n.undoes is not null) as undos_failed,
               count(*) filter (where n.state = 'completed' and n.undo is not null) as undoable,
               max(n.ended_at) as ended_at
        from pgqueue.nodes n where n.workflow_id = w.id and not n.is_gate
    ) c
    where w.kind <> 'batch'
