-- Marks a workflow as the children of a job, in the transaction that has stored the workflow. So no other session has seen it unmarked.
-- Locks only the row of the workflow. Runs in transactions of users, and therefore qualifies operators. Returns one row: the workflow's id.
update pgqueue.workflows set kind = 'children', parent_job = %(job_id)s::bigint
where id operator(pg_catalog.=) %(workflow_id)s::bigint
returning id
