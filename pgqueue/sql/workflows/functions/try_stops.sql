-- Does what stop_jobs() does, for one half of the jobs after the other, because it failed for all of them together. Leaves alone the jobs for
-- which it fails, because a trigger of the user raises an error. Tries no longer than two seconds after the statement began, as
-- move_nodes.sql explains.
-- Only cancel_nodes() calls it, with the jobs locked. Returns the ids of the jobs that it ended, or whose workers it asked to stop them.
create or replace function pgqueue.try_stops(ids bigint[], reason text)
returns bigint[]
language plpgsql
as $function$
declare
    half    constant integer := cardinality(ids) / 2;
    until   constant timestamptz := statement_timestamp() + interval '2 s';
    stopped bigint[] := '{}';
begin
    perform pgqueue.stop_jobs(ids, reason);
    return ids;
exception
    when others or assert_failure then
        if half > 0 and clock_timestamp() < until then
            stopped := pgqueue.try_stops(ids[:half], reason);
            if clock_timestamp() < until then
                stopped := stopped || pgqueue.try_stops(ids[half + 1:], reason);
            end if;
        end if;
        return stopped;
end
$function$;
