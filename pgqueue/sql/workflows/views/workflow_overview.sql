-- All workflows that are no batches: how each of them goes, and how many of its nodes are in which state. Groups are not counted. A node that was not needed,
-- because nothing failed, does not make a workflow fail.
create or replace view pgqueue.workflow_overview with (security_invoker) as
    select w.id, w.name, w.key,
           case when c.open > 0 and w.stop_reason is not null then 'stopping'
                when c.open > 0 then 'running'
                when w.stop_reason = 'workflow_cancelled' then 'cancelled'
                when c.failed > 0 then 'failed'
                else 'completed' end as state,
           w.on_failure, c.nodes, c.open, c.completed, c.dead, c.cancelled, w.created_at,
           case when c.open = 0 then greatest(w.created_at, c.ended_at) end as ended_at
    from pgqueue.workflows w
    cross join lateral (
        select count(*) as nodes, count(*) filter (where n.state is null) as open,
               count(*) filter (where n.state = 'completed') as completed, count(*) filter (where n.state = 'dead') as dead,
               count(*) filter (where n.state = 'cancelled') as cancelled,
               count(*) filter (where n.state <> 'completed' and not (n.needs = 'failed' and n.failed = 0)) as failed,
               max(n.ended_at) as ended_at
        from pgqueue.nodes n where n.workflow_id = w.id and not n.is_gate
    ) c
    where w.kind <> 'batch'
