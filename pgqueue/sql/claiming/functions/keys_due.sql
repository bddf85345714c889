-- Finds which keys of a lane have due jobs, in order, beginning with the key that follows `after`. Does so only if few jobs are due,
-- because then it is cheaper to read these jobs than to probe for every key. "Few" means at most `count` jobs, or at most as many jobs as
-- the lane has scheduled for later (counted up to 5000).
-- Null: more jobs are due, so the caller must probe for every key.
-- Only due_by_key.sql calls this function, so the search path and the planner settings of that function are in force. Uses the index
-- jobs_live_due_idx. Locks nothing.
create or replace function pgqueue.keys_due(of_queue text, of_priority smallint, after text, count integer, moment timestamptz,
    after_at timestamptz, after_id bigint)
returns text[]
language plpgsql
as $function$
declare
    few integer := count;
begin
    for looks in 1 .. 2 loop
        if not exists (
            select from pgqueue.jobs_live j
            where --+ lane_by_due j
              and j.run_at <= moment and (j.run_at, j.id) >= (after_at, after_id)
            order by j.run_at, j.id offset few) then
            return array(
                select d.turn
                from (select distinct coalesce(j.concurrency_key, E'\x01' || j.task) as turn from pgqueue.jobs_live j
                      where --+ lane_by_due j
                        and j.run_at <= moment and (j.run_at, j.id) >= (after_at, after_id)) d
                order by d.turn <= after, d.turn);
        end if;
        exit when few > count;
        few := (
            select count(*) from (
                select from pgqueue.jobs_live j
                where --+ lane_by_due j
                  and j.run_at > moment
                order by j.run_at limit 5000) l);
        exit when few <= count;
    end loop;
    return null;
end
$function$;
