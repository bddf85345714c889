-- Makes the rows of queues that exist only as jobs so far (no worker serves them), so that they are seen and can be
-- paused. Finds them by functions/unclaimed_queues.sql. Returns the new names.
insert into pgqueue.queues (name)
select u.name from pgqueue.unclaimed_queues() u (name)
where not exists (select from pgqueue.queues q where q.name = u.name)
on conflict (name) do nothing
returning name
