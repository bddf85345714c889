-- Prepares the second search of due_by_key.sql. Returns the keys for which the first search found jobs, in the same order. For each key it
-- also returns how many jobs the second search is allowed to take, so that all keys together give `count` jobs. These numbers are in the
-- ratio of the keys' shares. Locks nothing.
-- Only due_by_key.sql calls this function, so the search path of that function is in force. It is in plpgsql, so that each session plans it
-- only once.
create or replace function pgqueue.larger_parts(turn_of text[], of_queue text, shared boolean, count integer, out turns text[], out parts integer[])
language plpgsql
as $function$
begin
    select array_agg(p.turn order by p.rank),
           array_agg(case when shared then p.share * greatest(count / p.total, 1)  -- a whole multiple of the share, which keeps the ratio
                          else (count * p.share + p.total - 1) / p.total end order by p.rank)
    into turns, parts
    from (
        select s.turn, s.rank, s.share, (sum(s.share) over ())::integer as total
        from (
            select u.turn, min(u.rank) as rank, case when shared then pgqueue.share_of(u.turn, of_queue) else 1 end as share
            from unnest(turn_of) with ordinality u (turn, rank)
            group by u.turn
        ) s
    ) p;
end
$function$;
