-- What an INSERT into pgqueue.stats does if the row exists: it adds its counts to those of the row.
on conflict (seconds, at, queue, task) do update set
    --+ added j
