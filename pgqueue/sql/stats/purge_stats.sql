-- Deletes up to `count` rows of hours of pgqueue.stats, and as many of pgqueue.stats_totals, that began longer than `age` seconds ago,
-- skipping locked ones. Uses the index stats_pkey. Returns how many rows of pgqueue.stats it deleted.
with gone as (
    delete from pgqueue.stats s
    where s.ctid = any(array(
        select o.ctid from pgqueue.stats o
        where o.seconds = 3600 and o.at < clock_timestamp() - make_interval(secs => %(age)s::float8)
        order by o.at, o.queue, o.task
        limit %(count)s::int
        for update skip locked))
    returning 1
), totals as (
    delete from pgqueue.stats_totals s
    where s.ctid = any(array(
        select o.ctid from pgqueue.stats_totals o
        where o.seconds = 3600 and o.at < clock_timestamp() - make_interval(secs => %(age)s::float8)
        limit %(count)s::int
        for update skip locked))
)
select count(*) from gone
