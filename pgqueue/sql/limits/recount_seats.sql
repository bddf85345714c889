-- Counts again how much of each seat is taken (functions/recount_seats.sql). Locks all seats, in order. Zero rows: all stored numbers were
-- right.
select h.limit_id, h.key, h.counted, h.correct from pgqueue.recount_seats() h
