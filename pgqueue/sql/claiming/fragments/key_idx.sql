-- The condition of jobs_live_key_idx (queue, priority, key, num_nonnulls(ordering), task, run_at, id): unclaimed jobs that take turns.
-- Their key is `coalesce(concurrency_key, E'\x01' || task)`: the job's concurrency_key, or, for a parked job (park.sql), a text made of its
-- task.
j.state in ('pending', 'retrying') and (j.concurrency_key is not null or j.parked)
