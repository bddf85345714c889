-- The time-out of a wait without a time-out. It is the last day that run_at can hold.
'2999-12-31 00:00+00'::timestamptz
