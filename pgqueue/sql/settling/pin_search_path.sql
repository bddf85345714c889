-- Sets the search path for what is left of the caller's transaction, before a statement that does not qualify the server's own
-- functions and operators. Locks nothing. One row.
select pg_catalog.set_config('search_path', 'pg_catalog, pg_temp', true)
