-- The name by which a worker serves a queue: the queue's own name, or else the first of its patterns with * that fits. Null: none of them
-- fits. In workers.queue_slots, the slots of that name are at the same place.
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
