-- Counts the jobs that match a filter, for each task, queue, state or tag, as the parameters say. Reads every job in the states of the
-- filter. Locks nothing.
-- If tags are counted, a job without tags counts under a null tag, and a job with two tags counts twice. Zero rows: no job matches.
select case when %(by_task)s::boolean then j.task::text end,
       case when %(by_queue)s::boolean then j.queue::text end,
       case when %(by_state)s::boolean then j.state::text end,
       t.tag, count(*)
from pgqueue.jobs j
left join lateral unnest(j.tags) t (tag) on %(by_tag)s::boolean
where --+ matching j
group by 1, 2, 3, 4
order by 5 desc, 1, 2, 3, 4
