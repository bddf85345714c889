-- Makes the COMMIT of this transaction fail with SQLSTATE PQ601, whoever sends it: the handler, its libraries, or pgqueue by mistake.
-- Inserts a checkpoint under a lease that no attempt can have. During the COMMIT, functions/fence_checkpoint.sql refuses it.
-- `key` is random, so two replays of one job do not wait for each other. Locks only the new row, which is never committed.
-- The statement runs in transactions of users, under their search path. So it qualifies the server's functions.
-- Also sets limits for this transaction: the server does not end it while the handler does something else, and a statement waits for a lock
-- for at most 10 s, because two connections of the handler can wait for each other.
-- Returns one row.
insert into pgqueue.checkpoints (job_id, lease_id, worker_id, kind, name, key, value)
values (%(job_id)s::bigint, 0, 0, 'effect', 'pgqueue.replay', %(key)s::text, 'null')
returning pg_catalog.set_config('idle_in_transaction_session_timeout', '0', true),
          pg_catalog.set_config('lock_timeout', '10s', true)
