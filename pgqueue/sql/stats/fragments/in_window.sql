-- The rows of pgqueue.stats that begin in a time, of one queue or task if these are given. Uses the index stats_pkey.
j.seconds in (60, 3600) and j.at >= %(since)s::timestamptz and j.at < %(until)s::timestamptz
and (%(queue)s::text is null or j.queue = %(queue)s::text) and (%(task)s::text is null or j.task = %(task)s::text)
