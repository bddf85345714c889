-- Lists the rows of seats of one limit: for each key, or '' if the limit has no keys, how many seats are taken, since when it is full, and
-- until when its rate is used up. The keys with the most taken seats come first, at most 100. Uses seats_pkey. Locks nothing.
-- Zero rows: no job has taken a seat of the limit yet.
select s.key, s.taken, s.wanted, s.full_at, s.free_at
from pgqueue.seats s
where s.limit_id = %(limit_id)s::int
order by s.taken desc, s.free_at desc nulls last, s.key
limit 100
