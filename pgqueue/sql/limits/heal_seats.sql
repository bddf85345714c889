-- Counts the seats again (functions/heal_seats.sql). Locks all seats, in order. Zero rows: all were right.
select h.limit_id, h.key, h.counted, h.held from pgqueue.heal_seats() h
