-- Turns up to `count` rows of minutes that ended longer than `age` seconds ago into rows of hours: deletes them, and adds their sums to the
-- rows of their hours. Only minutes of whole hours that are so old are taken.
-- If two leaders run this at the same time, each minute is taken by one of them, because a deleted row is found only once.
-- Uses the index stats_pkey. Locks the rows of minutes, skipping locked ones, then the rows of hours in the order of their key.
-- Returns how many rows it took. 0: no row is so old.
with old as (
    delete from pgqueue.stats s
    where s.ctid = any(array(
        select o.ctid from pgqueue.stats o
        where o.seconds = 60
          and o.at < to_timestamp(floor(date_part('epoch', clock_timestamp() - make_interval(secs => %(age)s::float8)) / 3600) * 3600)
        order by o.at, o.queue, o.task
        limit %(count)s::int
        for update skip locked))
    returning to_timestamp(floor(date_part('epoch', s.at) / 3600) * 3600) as hour, s.*
), stored as (
    insert into pgqueue.stats as h (
        seconds, at, queue, task, started, completed, retried, dead, cancelled, put_back, crashed, wait_seconds, run_seconds, waits, runs)
    select 3600, o.hour, o.queue, o.task,
           --+ counted o,
           --+ summed_waits o
           ,
           --+ summed_runs o
    from old o
    group by o.hour, o.queue, o.task
    order by o.hour, o.queue, o.task
    --+ adding h
)
select count(*) from old
