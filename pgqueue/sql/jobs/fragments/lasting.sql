-- The columns that a job keeps unchanged wherever its row moves, also when it is revived. They say what the job is, not how it went.
j.lease_id, j.created_at, j.priority, j.max_attempts, j.queue, j.task, j.unique_key, j.concurrency_key, j.weight, j.ordering,
j.timeout, j.stored_by_pgqueue, j.workflow_id, j.version, j.transaction_id
