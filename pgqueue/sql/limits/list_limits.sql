-- Lists all limits, with how much of each limit is taken now. For a limit by key, also returns how many keys have used it up. Reads limits
-- and seats. Locks nothing.
select l.id, l.queue, l.task, l.per_key, l.key, l.concurrency, l.rate, date_part('epoch', l.period), l.sliding, l.burst, l.share,
       coalesce(s.taken, 0)::int, coalesce(s.full_keys, 0)::int, s.free_at
from pgqueue.limits l
left join lateral (
    select sum(s.taken) as taken, count(*) filter (where pgqueue.is_full(s.taken, s.wanted, l.concurrency, s.free_at, clock_timestamp())) as full_keys,
           max(s.free_at) filter (where s.free_at > clock_timestamp()) as free_at
    from pgqueue.seats s where s.limit_id = l.id
) s on true
order by l.id
