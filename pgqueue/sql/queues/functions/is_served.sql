-- Whether a worker with these queues (names, and patterns with *) serves this queue.
create or replace function pgqueue.is_served(queue text, queues text[])
returns boolean
language sql
immutable
parallel safe
set search_path = pg_catalog, pg_temp
as $function$
    select pgqueue.serving_name(queue, queues) is not null
$function$;
