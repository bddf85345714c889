-- Claims jobs from one lane under the limits. If `after` is null, claims jobs without a key; otherwise claims jobs with keys, by turns.
-- functions/claim_limited.sql says how this works, what is locked and which indexes are used. The function's signature lists the columns.
-- Zero rows: no job there is due, or the limits let no job start.
select c.*
from pgqueue.claim_limited(%(worker_id)s::bigint, %(tasks)s::text[], %(queue)s::text, %(priority)s::smallint, %(after)s::text, %(count)s::int,
    %(since)s::text, %(only)s::bigint[]) c
