-- The database's time, in epoch seconds: a host's clock may be wrong, or be moved.
select extract(epoch from clock_timestamp())::float8
