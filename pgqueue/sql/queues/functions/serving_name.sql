-- By which of these names, or else patterns with *, a worker serves a queue: the first that fits. Null: by none. Its place among them
-- is that of the slots of its own in workers.queue_slots.
create or replace function pgqueue.serving_name(queue text, queues text[])
returns text
language sql
immutable
parallel safe
set search_path = pg_catalog, pg_temp
as $function$
    select case when queue = any(queues) then queue
        else (select p from unnest(queues) with ordinality u (p, rank)
              where p like '%*%' and queue like replace(replace(p, '_', E'\\_'), '*', '%')
              order by rank limit 1) end
$function$;
