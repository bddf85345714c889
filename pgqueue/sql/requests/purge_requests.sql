-- Deletes requests, and their answers, that are older than an hour, at most `count`, skipping locked rows. The table is small, so this reads
-- all of it. Returns how many rows were deleted.
with gone as (
    delete from pgqueue.worker_requests r
    where r.id in (
        select o.id from pgqueue.worker_requests o
        where o.at < clock_timestamp() - interval '1 hour'
        limit %(count)s::int for update skip locked)
    returning 1
)
select count(*) from gone
