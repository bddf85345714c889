-- Claims from one lane under the limits: jobs with keys by turns, or, `after` null, jobs without a key. The function of the same name says
-- how, what it locks and which indexes it expects; its signature names the columns.
-- Zero rows: nothing there is due, or nothing is free.
select c.*
from pgqueue.claim_limited(%(worker_id)s::bigint, %(tasks)s::text[], %(queue)s::text, %(priority)s::smallint, %(after)s::text, %(count)s::int,
    %(since)s::text, %(only)s::bigint[]) c
