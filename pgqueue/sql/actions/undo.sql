-- Undoes one action, by the SQL API (functions/undo.sql). Returns one row for each job; of an action without jobs, one row without an id.
-- `operation`: the id of begin_operation.sql, if the undo has several slices.
select u.audit_id, u.job_id, u.result
from pgqueue.undo(%(audit_id)s::bigint, %(who)s::text::jsonb || case when %(operation)s::bigint is null then '{}' else jsonb_build_object('operation', %(operation)s::bigint) end) u
