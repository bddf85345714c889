-- The condition of jobs_live_due_idx (queue, priority, run_at, id). This index has the same jobs as jobs_live_key_idx, in the order in
-- which they are due.
-- `num_nonnulls(run_at) = 1` is always true, because run_at is never null. This condition only chooses the index. A query that does not
-- contain it cannot use jobs_live_due_idx. A query that contains it is planned with jobs_live_due_idx even if the statistics are stale,
-- because no other index has these jobs in this order.
--+ key_idx j
and num_nonnulls(j.run_at) = 1
