-- The columns of a job that hold documents. A job keeps these too wherever its row moves (lasting.sql). But if a row cannot be moved with
-- them, make_dead.sql leaves them out.
j.tags, j.args, j.meta, j.trace_context
