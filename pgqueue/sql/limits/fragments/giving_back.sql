-- Gives back the seats of the jobs j. The query must also have `generate_series(1, cardinality(j.seats_taken), 2) i` in its FROM, because
-- `seats_taken` is a list of pairs: a limit's id and a weight.
-- All names are qualified, because complete.sql runs under the search path of a user.
pgqueue.give_back_seats(pg_catalog.array_agg(j.seats_taken[i]), pg_catalog.array_agg(coalesce(j.concurrency_key, '')),
                pg_catalog.array_agg(j.seats_taken[i operator(pg_catalog.+) 1]), pg_catalog.array_agg(j.queue::text)) as done
