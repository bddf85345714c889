-- Undoes one action, by the SQL API (functions/undo.sql). Returns one row for each job; of an action without jobs, one row without an id.
select u.audit_id, u.job_id, u.result
from pgqueue.undo(%(audit_id)s::bigint, %(who)s::text::jsonb) u
