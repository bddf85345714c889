-- The nodes of all workflows: the state of each, what it waits for, and how it ended. A job that undoes a node is a node, too; `undoes` is
-- the name of the node that it undoes. A node that has not ended has the state of its job.
create or replace view pgqueue.workflow_nodes with (security_invoker) as
    select n.workflow_id, n.rank, n.name, n.id, case when not n.is_gate then n.id end as job_id, j.task,
           coalesce(n.state, j.state, 'waiting') as state, n.unmet as waits_for, n.needs, n.ended_at, n.error, n.result,
           array(select b.name from pgqueue.dependencies d join pgqueue.nodes b on b.id = d.on_id
                 where d.node_id = n.id order by b.rank) as after,
           (select u.name from pgqueue.nodes u where u.id = n.undoes) as undoes
    from pgqueue.nodes n
    left join pgqueue.jobs j on j.id = n.id
    where coalesce(n.undoes, 1) > 0
