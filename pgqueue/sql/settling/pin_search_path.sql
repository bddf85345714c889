-- Sets the search path for the rest of the caller's transaction. It runs before a statement that does not qualify the server's own
-- functions and operators. Locks nothing. Returns one row.
select pg_catalog.set_config('search_path', 'pg_catalog, pg_temp', true)
