-- Finds the workflow that finish_workflow.sql would deal with: the first one with an id greater than `after` that is being stopped.
-- Uses workflows_stopping_idx. Locks nothing. Returns one row: its id; null: there is none.
select min(w.id)
from pgqueue.workflows w
where w.stop_reason is not null and w.stopped_at is null and w.id > %(after)s::bigint
