-- The columns of a job as Python shows it, in the order in which job_of in database/statements/decoding.py reads them. Documents are
-- returned as text. If a document cannot be shown, its text says so, because one odd row must not hide the other rows.
j.id, j.queue, j.task, pgqueue.text_of(j.args) as args, j.state, j.priority, j.run_at, j.attempt, j.max_attempts, j.lease_id,
j.worker_id, j.crash_count, j.unique_key, j.concurrency_key, j.tags, j.created_at, pgqueue.time_of(j.started_at) as started_at,
pgqueue.time_of(j.finished_at) as finished_at, extract(epoch from j.timeout)::float8 as timeout, pgqueue.text_of(j.progress) as progress,
pgqueue.text_of(j.result) as result, j.last_error, j.last_traceback, j.cancel_requested, pgqueue.text_of(j.meta) as meta, j.expires_at,
j.deadline_at, j.version
