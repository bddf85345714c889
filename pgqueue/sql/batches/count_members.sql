-- Counts the unfinished members of a batch by the state of their jobs. Returns (state, jobs), in the order of the states; zero rows: none.
-- Uses nodes_parts_idx, dependencies_node_idx, nodes_pkey and jobs_live_id_key: reads the members of the parts that have not ended. Locks
-- nothing.
select j.state::text, count(*)
from pgqueue.nodes p
join pgqueue.dependencies d on d.node_id = p.id
join pgqueue.nodes n on n.id = d.on_id
join pgqueue.jobs_live j on j.id = n.id
where p.workflow_id = %(batch)s::bigint and p.members is not null and p.state is null and n.state is null
group by j.state order by j.state
