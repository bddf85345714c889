-- Cancels jobs, as end_jobs() does, one half of them after the other, because this failed for all of them together. Leaves alone the jobs
-- that cannot be ended, because a trigger of the user raises an error. Tries no longer than two seconds after the statement began, as
-- move_nodes.sql explains.
-- Only cancel_nodes() calls it, with the jobs locked. Returns the ids of the jobs that it ended.
create or replace function pgqueue.try_ends(ids bigint[], reason text)
returns bigint[]
language plpgsql
as $function$
declare
    half  constant integer := cardinality(ids) / 2;
    until constant timestamptz := statement_timestamp() + interval '2 s';
    ended bigint[] := '{}';
begin
    perform pgqueue.end_jobs(ids, 'cancelled', reason);
    return ids;
exception
    when others then
        if half > 0 and clock_timestamp() < until then
            ended := pgqueue.try_ends(ids[:half], reason);
            if clock_timestamp() < until then
                ended := ended || pgqueue.try_ends(ids[half + 1:], reason);
            end if;
        end if;
        return ended;
end
$function$;
