-- Gives the settings of read_settings.sql their former values again, in a transaction that goes on after the completion of a job, as that of a
-- test does. Locks nothing. Returns one row.
select pg_catalog.set_config('search_path', %(search_path)s::text, true),
       pg_catalog.set_config('idle_in_transaction_session_timeout', %(idle)s::text, true)
