-- Checks the deferred constraints of what this transaction has written (functions/check_deferred.sql). Returns one row, or fails.
select pgqueue.check_deferred()::pg_catalog.text
