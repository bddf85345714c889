-- Returns one row: the settings that the completion of a job in a handler's transaction changes until the end of that transaction
-- (before_commit.sql). Locks nothing.
select pg_catalog.current_setting('search_path'), pg_catalog.current_setting('idle_in_transaction_session_timeout')
