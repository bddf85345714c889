-- Counts the seats again (functions/recount_seats.sql). Locks all seats, in order. Zero rows: all counts were right.
select h.limit_id, h.key, h.counted, h.correct from pgqueue.recount_seats() h
