-- What a claim sets in each row. A lease_id is the microsecond of its claim, or the last lease_id plus one if that is larger. So it grows
-- even if a crash of the server took the last claim back.
state = 'running', attempt = j.attempt + 1,
lease_id = greatest(j.lease_id + 1, (date_part('epoch', clock_timestamp()) * 1000000)::bigint)
