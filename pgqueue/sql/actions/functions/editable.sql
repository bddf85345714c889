-- Returns what pgqueue.edit can change of a job, as the options that edit() takes. So edit() also brings back former values.
create or replace function pgqueue.editable(job pgqueue.jobs)
returns jsonb
language sql
stable
set search_path = pg_catalog, pg_temp
set timezone = 'UTC'
as $function$
    select jsonb_build_object(
        'args', job.args, 'queue', job.queue, 'priority', job.priority, 'run_at', job.run_at, 'max_attempts', job.max_attempts,
        'timeout', extract(epoch from job.timeout), 'tags', job.tags, 'meta', job.meta, 'expires', job.expires_at, 'deadline', job.deadline_at)
$function$;
