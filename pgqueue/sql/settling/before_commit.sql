-- Prepares the rest of a handler's own transaction for the statement that completes the job, and for COMMIT.
-- Sets the search path, because that statement does not qualify the server's own functions and operators.
-- Limits how long the transaction can stay idle before COMMIT. If the process is stopped or the network is gone, the server ends the
-- transaction after ten seconds. So the locks on the job's row and on the seats that it gives back do not last longer.
-- Locks nothing. Returns one row.
select pg_catalog.set_config('search_path', 'pg_catalog, pg_temp', true),
       pg_catalog.set_config('idle_in_transaction_session_timeout', '10s', true)
