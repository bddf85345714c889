-- Claims jobs from one lane under the limits. If `after` is null, claims jobs without a key; otherwise claims jobs with keys, by turns.
-- functions/claim_limited.sql says how this works, what is locked and which indexes are used. The function's signature lists the columns.
-- Zero rows: no such job of the lane is due, the limits let no job start, the queue is paused, or the lease of this worker has run out.
select c.*
from pgqueue.claim_limited(%(worker_id)s::bigint, %(tasks)s::text[], %(queue)s::text, %(priority)s::smallint, %(after)s::text, %(count)s::int,
    %(since)s::text, %(only)s::bigint[]) c
