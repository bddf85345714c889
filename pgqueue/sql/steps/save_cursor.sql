-- Stores the cursor of a job, which says how far the job has come, in the user's transaction. The new cursor replaces the job's last
-- cursor.
-- During the COMMIT, functions/fence_checkpoint.sql checks the lease, and gives the job the version of the cursor. Locks only the row of
-- the cursor.
-- If the transaction then stays idle, the server ends the session after 10 s, because another attempt could wait for this row.
-- The statement runs in transactions of users, under their search path. So it qualifies the server's functions. Returns one row.
insert into pgqueue.checkpoints as c (job_id, lease_id, worker_id, kind, name, version, value)
values (%(job_id)s::bigint, %(lease_id)s::bigint, %(worker_id)s::bigint, 'cursor', %(name)s::text, %(version)s::smallint, %(value)s::jsonb)
on conflict (job_id, name, key) do update
set lease_id = excluded.lease_id, worker_id = excluded.worker_id, at = excluded.at, version = excluded.version, value = excluded.value
returning pg_catalog.set_config('idle_in_transaction_session_timeout', '10s', true)
