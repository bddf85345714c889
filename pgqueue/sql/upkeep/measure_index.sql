-- The bytes of one of our indexes; 0 if there is none of that name. Locks nothing.
select coalesce(pg_relation_size(to_regclass(format('pgqueue.%%I', %(index)s::text))), 0)
