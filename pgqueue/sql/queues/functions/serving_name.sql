-- Returns the element of `queues` by which a worker serves this queue: the queue's own name, or else the first pattern with * that fits.
-- Null: no element fits. In workers.queue_slots, the slots for this element are at the same place as the element in workers.queues.
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
