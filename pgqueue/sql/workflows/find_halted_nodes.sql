-- Finds nodes that nothing will end or release, with the reason. Only refused ones can have ended:
--   miscounted: its counters differ from what it waits for (`unmet` and `failed` are the right ones);
--   unreleased: it waits for nothing, but was not released or ended;
--   jobless: its job is gone;
--   refused: the database refused to go on with it, and `error` says why. The leader tries again, but perhaps in vain;
--   left: it was left to the leader, and no worker lives that could lead;
--   stopping: its workflow is being stopped, and no worker lives that could lead.
-- It is for `pgq doctor`. One statement sees one moment, and at each moment a transaction that ends jobs is either committed or invisible.
-- So no transaction under way is about to do what this statement finds; only the leader can be. Reads all nodes, and what the open ones
-- wait for. Locks nothing.
-- Zero rows, the normal case: each open node waits for one that is open, or its job can run.
with leader as materialized (
    select exists (select from pgqueue.workers w where w.state in ('running', 'draining') and w.expires_at > clock_timestamp()) as possible
), node as materialized (
    select n.id, n.workflow_id, n.name, n.is_gate, n.needs, n.unmet, n.failed, c.unmet as real_unmet, c.failed as real_failed,
           l.id as live, l.state, l.waits_for is not null as waits_for_signal, w.name as workflow,
           w.stop_reason is not null and w.stopped_at is null as is_stopping, u.is_left, u.error,
           n.state is null as is_open
    from pgqueue.nodes n
    join pgqueue.workflows w on w.id = n.workflow_id
    cross join lateral (
        select count(*) filter (where b.state is null) as unmet, count(*) filter (where b.state <> 'completed') as failed
        from pgqueue.dependencies d join pgqueue.nodes b on b.id = d.on_id where d.node_id = n.id) c
    left join pgqueue.jobs_live l on l.id = n.id
    cross join lateral (
        select count(*) > 0 as is_left, max(split_part(u.error, E'\n', 1)) as error from pgqueue.unresolved u where u.node_id = n.id) u
    where n.state is null or n.id = any(array(select u.node_id from pgqueue.unresolved u))
)
select f.fault, n.workflow_id, n.workflow, n.id, n.name, n.real_unmet, n.real_failed, n.error
from node n
cross join lateral (
    select case
        when n.error is not null then 'refused'
        when not n.is_open then null
        when (n.unmet, n.failed) is distinct from (n.real_unmet, n.real_failed) then 'miscounted'
        when not n.is_gate and n.live is null then 'jobless'
        when n.is_left then 'left'
        when n.is_stopping and (n.is_gate or n.state <> 'running') then 'stopping'
        when n.unmet = 0 and (n.is_gate or n.state = 'waiting' and not n.waits_for_signal) then 'unreleased'
        when n.needs = 'completed' and n.failed > 0 and not n.is_gate and n.state = 'waiting'
             and not n.waits_for_signal then 'unreleased' end as fault
) f
where f.fault is not null and (f.fault not in ('left', 'stopping') or not (select l.possible from leader l))
order by array_position(array['miscounted', 'unreleased', 'refused', 'jobless', 'left', 'stopping'], f.fault), n.workflow_id, n.id
limit 20
