-- Returns what pgqueue must know about a database before it works there. Locks nothing, and needs no table of pgqueue.
select current_setting('server_version_num')::int, pg_is_in_recovery(),
       to_regclass('pgqueue.jobs') is not null,
       current_database()::text, current_user::text, current_setting('server_encoding')
