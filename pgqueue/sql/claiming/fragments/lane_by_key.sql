-- The jobs of one lane that take turns, by jobs_live_key_idx. `of_queue` and `of_priority` are variables of the function around it.
j.queue = of_queue and j.priority = of_priority
and --+ key_idx j
