-- The condition for the jobs of one lane that take turns, in the form that uses jobs_live_due_idx. `of_queue` and `of_priority` are
-- variables of the function that uses this fragment.
j.queue = of_queue and j.priority = of_priority
and --+ due_idx j
