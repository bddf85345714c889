-- The condition of jobs_live_due_idx (queue, priority, run_at, id): the jobs of jobs_live_key_idx in the order in which they are due.
-- `num_nonnulls(run_at) = 1` is always true, because run_at is never null. It calls the index by name: a query without these words cannot
-- use the index. A query with them finds this order in no other index. So stale statistics cannot spoil the planner's choice.
--+ key_idx j
and num_nonnulls(j.run_at) = 1
