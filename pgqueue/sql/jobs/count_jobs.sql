-- Counts the jobs that match a filter, by what is asked for. Reads every job of the states asked for. Locks nothing.
-- A job without tags counts under a null tag, one with two tags twice. Zero rows: no job matches.
select case when %(by_task)s::boolean then j.task::text end,
       case when %(by_queue)s::boolean then j.queue::text end,
       case when %(by_state)s::boolean then j.state::text end,
       t.tag, count(*)
from pgqueue.jobs j
left join lateral unnest(j.tags) t (tag) on %(by_tag)s::boolean
where --+ matching j
group by 1, 2, 3, 4
order by 5 desc, 1, 2, 3, 4
