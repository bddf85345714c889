-- Returns, for each of the shares (0 to 1, ascending), the time in seconds within which this share of the times in a histogram lies, as an
-- estimate. With the shares 0.5 and 0.95, these are the p50 and the p95.
-- This is the place in the SQL that says what the buckets of pgqueue.stats mean (in Python, it is model/histogram.py). Bucket 1 counts the
-- times below 2^-13 s (0.12 ms). Each further bucket i counts the times from 2^(i - 15) to 2^(i - 14) seconds. The last bucket, 32, counts
-- all times from 2^17 s (36 h) on.
-- Inside a bucket, the times are taken as evenly spread over its powers of two. So an estimate is wrong by a factor of 2 at most. About a
-- time in the last bucket, only the lower bound of the bucket is known, which is then returned.
-- Each element is null if the histogram is empty.
create or replace function pgqueue.quantiles(histogram bigint[], variadic shares double precision[])
returns double precision[]
language plpgsql
immutable
parallel safe
set search_path = pg_catalog, pg_temp
as $function$
declare
    found double precision[] := array_fill(null::float8, array[cardinality(shares)]);
    wanted double precision;
    total bigint := 0;
    upto bigint := 0;
    i integer := 0;
    n bigint;
begin
    foreach n in array histogram loop
        total := total + coalesce(n, 0);
    end loop;
    if total > 0 then
        for k in 1 .. cardinality(shares) loop
            wanted := total * shares[k];
            while i = 0 or upto < wanted or n = 0 loop
                i := i + 1;
                n := coalesce(histogram[i], 0);
                upto := upto + n;
            end loop;
            found[k] := case when i < 32 then power(2::float8, i - 15 + (wanted - (upto - n)) / n) else 131072 end;
        end loop;
    end if;
    return found;
end
$function$;
