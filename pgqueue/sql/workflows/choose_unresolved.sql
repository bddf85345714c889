-- Finds rows of `unresolved`: nodes at which the leader must look again, because their jobs were locked when they were to be released or
-- ended. At most `count`, the oldest first. Uses unresolved_pkey. Locks nothing. Returns (id, node_id). Zero rows, the normal case: nothing
-- was left.
select u.id, u.node_id
from pgqueue.unresolved u
order by u.id
limit %(count)s::int
