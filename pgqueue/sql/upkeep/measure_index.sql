-- Returns the bytes of one index of pgqueue; 0 if there is no index of that name. Locks nothing.
select coalesce(pg_relation_size(to_regclass(format('pgqueue.%%I', %(index)s::text))), 0)
