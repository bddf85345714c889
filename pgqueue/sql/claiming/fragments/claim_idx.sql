-- The condition of jobs_live_claim_idx (queue, priority, run_at, id): unclaimed jobs that take no turns, because they have no
-- concurrency_key and are not parked.
j.state in ('pending', 'retrying') and j.concurrency_key is null and j.parked is null
