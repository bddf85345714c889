-- The bodies of the SQL API as installed, to be compared with the code's.
select p.proname::text, p.prosrc from pg_catalog.pg_proc p where p.pronamespace = 'pgqueue'::regnamespace order by 1
