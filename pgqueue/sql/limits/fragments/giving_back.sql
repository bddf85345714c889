-- Gives back the seats of the jobs j, beside `generate_series(1, cardinality(j.seats_taken), 2) i`: `seats_taken` holds pairs of a limit
-- and a weight.
-- Its names are qualified, because complete.sql runs under the search path of a user.
pgqueue.give_back_seats(pg_catalog.array_agg(j.seats_taken[i]), pg_catalog.array_agg(coalesce(j.concurrency_key, '')),
                pg_catalog.array_agg(j.seats_taken[i operator(pg_catalog.+) 1]), pg_catalog.array_agg(j.queue::text)) as done
