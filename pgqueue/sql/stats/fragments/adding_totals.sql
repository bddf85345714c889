-- What an INSERT into pgqueue.stats_totals does if the row exists: it adds its counts to those of the row.
on conflict (queue, task, seconds, at) do update set
    --+ added j
