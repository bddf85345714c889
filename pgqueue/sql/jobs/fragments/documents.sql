-- The documents of a job. They last too, but make_dead.sql leaves them out of a row that cannot be moved with them.
j.tags, j.args, j.meta, j.trace_context
