-- Makes rows for queues that have jobs but that no worker serves, so that they are listed and can be paused. functions/unclaimed_queues.sql
-- finds these queues. Returns the names of the new rows.
insert into pgqueue.queues (name)
select u.name from pgqueue.unclaimed_queues() u (name)
where not exists (select from pgqueue.queues q where q.name = u.name)
on conflict (name) do nothing
returning name
