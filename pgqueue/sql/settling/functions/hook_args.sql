-- Returns the arguments of the job that runs a hook: `job` as the outcome left it, and how its attempt ended. The arguments of any job can
-- have at most 2 MB of text. If they would be longer here, the hook gets `job` without its arguments, its result and its other documents.
-- This happens only if `job` was enqueued by the SQL API, because only such jobs can be so large.
create or replace function pgqueue.hook_args(job jsonb, reason text, error text, traceback text)
returns jsonb
language sql
stable
set search_path = pg_catalog, pg_temp
as $function$
    select case when pgqueue.fits_as_args(w.args) then w.args
                else jsonb_set(w.args, '{job}', (w.args -> 'job') - array['args', 'result', 'progress', 'meta', 'trace_context', 'last_traceback']
                                                || jsonb_build_object('last_error', left(w.args #>> '{job,last_error}', 10000))) end
    from (select jsonb_build_object(
              'job', (job - array['traceback', 'error', 'reason', 'final', 'end_state', 'kept', 'begun', 'seats_taken', 'parked', 'stored_by_pgqueue'])
                     || jsonb_build_object('timeout', date_part('epoch', (job ->> 'timeout')::interval)),
              'reason', reason, 'error', error, 'traceback', traceback)) w (args)
$function$;
