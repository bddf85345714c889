-- The columns of a job that hold documents. As those of lasting.sql, they go with the row of a job from table to table. But make_dead.sql
-- leaves them out if the row cannot be moved with them.
j.tags, j.args, j.meta, j.trace_context
