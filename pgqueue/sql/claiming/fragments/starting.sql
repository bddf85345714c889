-- The columns that a claim sets in each row. The new lease_id is the time of the claim in microseconds, or the job's last lease_id plus one
-- if that is larger. So the lease_id grows even if a crash of the server undid the last claim.
-- The lowest bit of a lease_id says whether the claim was the job's first claim: it is 1 in the first lease_id, and 0 in all later
-- lease_ids.
-- So the worker knows without a query that the job has no checkpoints yet. The column `attempt` does not show this, because a release, a
-- snooze and a revival set it back.
state = 'running', attempt = j.attempt + 1,
lease_id = ((greatest(j.lease_id + 1, (date_part('epoch', clock_timestamp()) * 1000000)::bigint) + 1) & -2) - (j.lease_id = 0)::int
