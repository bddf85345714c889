-- Finds rows of `unresolved`: nodes at which the leader must look again. At most `count` of nodes whose jobs were locked when they were to be
-- released or ended, and then at most `count` of nodes that the database has refused. The oldest come first, and a row that the leader tries
-- in vain becomes the youngest.
-- Uses unresolved_pkey. Locks nothing. Returns (id, node_id, refusal). Zero rows, the normal case: nothing was left.
(select u.id, u.node_id, u.error from pgqueue.unresolved u where num_nulls(u.error) = 1 order by u.id limit %(count)s::int)
union all
(select u.id, u.node_id, u.error from pgqueue.unresolved u where num_nulls(u.error) = 0 order by u.id limit %(count)s::int)
