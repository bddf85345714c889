-- What a claim sets in each row. A lease_id is the microsecond of its claim, or one more than the last one: so it grows also when a
-- crash of the server took the last claim back.
state = 'running', attempt = j.attempt + 1,
lease_id = greatest(j.lease_id + 1, (date_part('epoch', clock_timestamp()) * 1000000)::bigint)
