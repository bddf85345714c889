-- Does one action with up to 1000 jobs, by the SQL API, and writes its row into pgqueue.audit (functions/act.sql). Returns one row for each
-- id: the id of the audit row (null: nothing was written), the job's id, and what happened.
select a.audit_id, a.job_id, a.result
from pgqueue.act(%(action)s::text, %(job_ids)s::bigint[], %(options)s::text::jsonb, %(who)s::text::jsonb) a
