-- Decides waits for signals: takes the signal that each of them waits for, or finds that its time-out has passed
-- (functions/take_signals.sql). Returns one row for each item of `items`, with the rank of the item, counted from 1.
select t.rank, t.what, t.kind, t.held_lease, t.value, t.asked from pgqueue.take_signals(%(items)s::jsonb) t
