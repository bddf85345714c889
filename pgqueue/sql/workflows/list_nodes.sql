-- Lists the nodes of a workflow in its order, with groups and jobs that undo nodes, but without hidden gates. `signals`: the names of the
-- signals that the job waits for; one of them is enough. `refusal`: why the database refuses to go on with the node. `after`: the ids of the
-- nodes that must end before the node, as the text of an array. A node with an error has the documents of its job.
-- Uses nodes_workflow_key, dependencies_node_idx and the index on id of each partition. Locks nothing. Zero rows: the workflow has no
-- nodes.
select n.id, n.name, j.task, coalesce(n.state, j.state, 'waiting') as state, n.is_gate, n.gives, n.needs, n.error,
       r.refusal,
       n.undoes is not null as is_undo, case when n.state is null and j.state = 'waiting' then j.waits_for::text[] end as signals,
       array(select d.on_id from pgqueue.dependencies d where d.node_id = n.id order by d.on_id)::text as after, s.*
from pgqueue.nodes n
left join pgqueue.jobs j on j.id = n.id and not n.is_gate
left join lateral (select max(u.error) as refusal from pgqueue.unresolved u where u.node_id = n.id) r on true
left join lateral (
    select
        --+ secret_documents j
    from pgqueue.jobs j where coalesce(n.error, r.refusal) is not null and j.id = n.id and not n.is_gate limit 1
) s on true
where n.workflow_id = %(workflow_id)s::bigint and coalesce(n.undoes, 1) > 0
order by n.rank
