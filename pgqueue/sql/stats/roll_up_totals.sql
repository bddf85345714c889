-- Turns up to `count` rows of pgqueue.stats_totals that cover `short` seconds, and that ended longer than `age` seconds ago, into rows that
-- cover `long` seconds: deletes them, and adds their sums to those rows. Only rows of whole long spans that are so old are taken.
-- If two leaders run this at the same time, each row is taken by one of them, because a deleted row is found only once.
-- Reads the table, which has few rows. Locks the short rows, skipping locked ones, then the long rows in the order of their key.
-- Returns how many rows it took. 0: no row is so old.
with old as (
    delete from pgqueue.stats_totals s
    where s.ctid = any(array(
        select o.ctid from pgqueue.stats_totals o
        where o.seconds = %(short)s::int
          and o.at < to_timestamp(floor(date_part('epoch', clock_timestamp() - make_interval(secs => %(age)s::float8)) / %(long)s::int) * %(long)s::int)
        limit %(count)s::int
        for update skip locked))
    returning to_timestamp(floor(date_part('epoch', s.at) / %(long)s::int) * %(long)s::int) as span, s.*
), stored as (
    insert into pgqueue.stats_totals as h (
        seconds, at, queue, task, started, completed, retried, dead, cancelled, put_back, crashed, wait_seconds, run_seconds, waits, runs)
    select %(long)s::int, o.span, o.queue, o.task,
           --+ counted o,
           --+ summed_waits o
           ,
           --+ summed_runs o
    from old o
    group by o.span, o.queue, o.task
    order by o.queue, o.task, o.span
    --+ adding_totals h
)
select count(*) from old
