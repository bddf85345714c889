-- Checks the lease of the job whose checkpoints this transaction has written, before the transaction completes that job.
-- functions/check_fence.sql says what it locks. The statement runs in transactions of users. Returns one row.
select pgqueue.check_fence()::pg_catalog.text
