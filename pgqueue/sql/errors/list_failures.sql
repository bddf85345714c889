-- Lists the newest failed attempts whose error has a fingerprint, with the traceback of each, and the documents of its job. Reads at most `most`
-- failures of the last week. Locks nothing. Zero rows: there is no such failure.
select f.at, f.job_id, f.to_state, f.error, f.traceback, s.*
from (
    select f.* from pgqueue.recent_failures(clock_timestamp() - interval '7 days', %(most)s::int) f
    where pgqueue.fingerprint(f.error, f.traceback) = %(fingerprint)s::text
    order by f.at desc
    limit %(count)s::int
) f
left join lateral (
    select
        --+ secret_documents j
    from pgqueue.jobs j where j.id = f.job_id limit 1
) s on true
order by f.at desc
