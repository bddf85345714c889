-- Finds out whether workflows have anything for the leader to do. An idle leader sends only this statement, every 1.5 s.
-- Uses unresolved_pkey, workflows_parent_idx and workflows_stopping_idx. Locks nothing.
-- Returns one row: whether there are nodes for resolve_again.sql, children for leave_parents.sql, workflows for finish_workflow.sql.
select exists (select from pgqueue.unresolved),
       exists (select from pgqueue.workflows w where w.parent_job is not null and w.stopped_at is null),
       exists (select from pgqueue.workflows w where w.stop_reason is not null and w.stopped_at is null)
