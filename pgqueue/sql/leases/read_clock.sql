-- Returns the database's time in epoch seconds. It is used because a host's clock can be wrong, or can be changed.
select extract(epoch from clock_timestamp())::float8
