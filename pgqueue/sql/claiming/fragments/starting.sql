-- The columns that a claim sets in each row. The new lease_id is the time of the claim in microseconds, or the job's last lease_id plus one
-- if that is larger. So the lease_id grows even if a crash of the server undid the last claim.
state = 'running', attempt = j.attempt + 1,
lease_id = greatest(j.lease_id + 1, (date_part('epoch', clock_timestamp()) * 1000000)::bigint)
