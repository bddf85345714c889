-- Returns the bodies of the installed functions of the SQL API, to be compared with the functions in the code.
select p.proname::text, p.prosrc from pg_catalog.pg_proc p where p.pronamespace = 'pgqueue'::regnamespace order by 1
