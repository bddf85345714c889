-- Whether a job that does not run will never run again: it has expired, is past its deadline, or was asked to stop. Such a job has ended,
-- whether finish_overdue has written that already or not. Locks nothing.
-- A function without settings of its own becomes part of the statement that calls it.
create or replace function pgqueue.is_overdue(state text, expires_at timestamptz, deadline_at timestamptz, cancel_requested boolean,
    moment timestamptz)
returns boolean
language sql
immutable parallel safe
as $function$
    select state operator(pg_catalog.<>) 'running'
        and (cancel_requested or coalesce(least(expires_at, deadline_at) operator(pg_catalog.<=) moment, false))
$function$;
