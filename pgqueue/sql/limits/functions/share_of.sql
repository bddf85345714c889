-- Returns how many jobs of a key a claim takes at each turn of the key: the share of the limit for this queue, or else of the limit for all
-- queues, or else 1.
create or replace function pgqueue.share_of(key text, queue text)
returns integer
language sql
stable
set search_path = pg_catalog, pg_temp
as $function$
    select coalesce((select l.share from pgqueue.limits l
                     where l.share is not null and l.key = share_of.key and (l.queue is null or l.queue = share_of.queue)
                     order by l.queue nulls last limit 1), 1)
$function$;
