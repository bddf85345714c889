-- Whether a worker of these queues (names, and patterns with *) serves this one.
create or replace function pgqueue.is_served(queue text, queues text[])
returns boolean
language sql
immutable
parallel safe
set search_path = pg_catalog, pg_temp
as $function$
    select queue = any(queues)
        or exists (select from unnest(queues) p
                   where p like '%*%' and queue like replace(replace(p, '_', E'\\_'), '*', '%'))
$function$;
