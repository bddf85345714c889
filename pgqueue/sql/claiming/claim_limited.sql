-- Claims from one lane by turns of its keys (or, `after` null, jobs without a key) under the limits: see functions/claim_limited.sql.
-- Zero rows: nothing there is due, or nothing is free.
select c.id, c.lease_id, c.queue_of, c.priority_of, c.task, c.args, c.attempt, c.max_attempts, c.crash_count, c.timeout, c.run_at,
    c.created_at, c.trace_context, c.extra, c.concurrency_key, c.turn, c.place, c.front
from pgqueue.claim_limited(%(worker_id)s::bigint, %(tasks)s::text[], %(queue)s::text, %(priority)s::smallint, %(after)s::text, %(count)s::int,
    %(since)s::text, %(only)s::bigint[]) c
