-- Stores the checkpoint of a step in the transaction in which the step also writes its own rows. Fails with a unique violation if the step
-- has a checkpoint already, so that these rows are rolled back.
-- During the COMMIT, functions/fence_checkpoint.sql checks the lease, and gives the job the version of the checkpoint. Locks only the new
-- row.
-- If the transaction then stays idle, the server ends the session after 10 s, because another attempt could wait for this row.
-- The statement runs in transactions of users, under their search path. So it qualifies the server's functions. Returns one row.
insert into pgqueue.checkpoints (job_id, lease_id, worker_id, kind, name, key, fingerprint, version, value)
values (%(job_id)s::bigint, %(lease_id)s::bigint, %(worker_id)s::bigint, 'effect', %(name)s::text, %(key)s::text, %(fingerprint)s::bigint, %(version)s::smallint,
        %(value)s::jsonb)
returning pg_catalog.set_config('idle_in_transaction_session_timeout', '10s', true)
