-- The condition of jobs_live_due_idx (queue, priority, run_at, id). This index has the same jobs as jobs_live_key_idx, in the order in
-- which they are due.
-- `num_nonnulls(run_at) = 1` is always true, because run_at is never null. This condition only chooses the index: a query without it cannot
-- use jobs_live_due_idx, and for a query with it no other index has this order. So stale statistics cannot mislead the planner.
--+ key_idx j
and num_nonnulls(j.run_at) = 1
