-- Finds which keys of a lane have due jobs, from the key after `after` on. Does so only if the due jobs are so few that it is cheaper to
-- ask for them than to pass every key: at most `count`, or as many as are scheduled for later, up to 5000.
-- Null: there are more, so look at every key.
-- Only for due_by_key.sql, whose search path and settings of the planner are in force. Expects jobs_live_due_idx. Locks nothing.
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
