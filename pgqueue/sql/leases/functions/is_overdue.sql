-- Whether a job that is not running will never run again: it has expired, is past its deadline, or was asked to stop. Such a job counts as
-- ended, even if finish_overdue has not written that yet. Locks nothing.
-- It has no settings of its own, so the server inlines it into the statement that calls it.
create or replace function pgqueue.is_overdue(state text, expires_at timestamptz, deadline_at timestamptz, cancel_requested boolean,
    moment timestamptz)
returns boolean
language sql
immutable parallel safe
as $function$
    select state operator(pg_catalog.<>) 'running'
        and (cancel_requested or coalesce(least(expires_at, deadline_at) operator(pg_catalog.<=) moment, false))
$function$;
