-- Lists the newest failed attempts whose error has a fingerprint, with the traceback of each. Reads at most `most` failures of the last week.
-- Locks nothing. Zero rows: there is no such failure.
select f.at, f.job_id, f.to_state, f.error, f.traceback
from pgqueue.recent_failures(clock_timestamp() - interval '7 days', %(most)s::int) f
where pgqueue.fingerprint(f.error, f.traceback) = %(fingerprint)s::text
order by f.at desc
limit %(count)s::int
