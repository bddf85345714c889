-- Lists the workflows that match a filter, the largest id first. A parameter that is null filters nothing. `before`: only smaller ids.
-- Reads workflows_pkey backwards until `count` workflows match, and counts the nodes of each (nodes_workflow_key). Locks nothing. Zero
-- rows: no further workflow matches.
select o.id, o.name, o.key, o.state, o.on_failure, o.nodes::bigint, o.open::bigint, o.completed::bigint, o.dead::bigint,
       o.cancelled::bigint, o.created_at, o.ended_at
from pgqueue.workflow_overview o
where (%(before)s::bigint is null or o.id < %(before)s::bigint)
  and (%(states)s::text[] is null or o.state = any(%(states)s::text[]))
  and (%(name)s::text is null or o.name = %(name)s::text)
  and (%(key)s::text is null or o.key = %(key)s::text)
order by o.id desc
limit %(count)s::int
