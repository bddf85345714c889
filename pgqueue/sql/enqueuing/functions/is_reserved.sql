-- Whether pgqueue keeps this name of a task for itself: messages of alerts (pgqueue.…) and hooks (….:on_…). Only pgqueue's own statements
-- store such jobs, and they mark them as stored_by_pgqueue. A worker runs no others of these names (worker/running/runner.py).
-- Locks nothing. A function without settings of its own becomes part of the statement that calls it.
create or replace function pgqueue.is_reserved(task text)
returns boolean
language sql
immutable parallel safe
as $function$
    select pg_catalog.starts_with(task, 'pgqueue.') or pg_catalog.strpos(task, ':on_') operator(pg_catalog.>) 0
$function$;
