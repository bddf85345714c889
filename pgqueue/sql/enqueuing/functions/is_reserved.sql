-- Whether pgqueue keeps this name of a task for itself: for messages of alerts (pgqueue.…) or for hooks (….:on_…). Only pgqueue's own
-- statements store jobs with such names, and they mark the jobs as stored_by_pgqueue. A worker does not run a job with such a name if it
-- lacks this mark (worker/running/runner.py).
-- Locks nothing. It has no settings of its own, so the server inlines it into the statement that calls it.
create or replace function pgqueue.is_reserved(task text)
returns boolean
language sql
immutable parallel safe
as $function$
    select pg_catalog.starts_with(task, 'pgqueue.') or pg_catalog.strpos(task, ':on_') operator(pg_catalog.>) 0
$function$;
