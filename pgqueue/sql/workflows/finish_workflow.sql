-- Cancels what is open of the first workflow with an id greater than `after` that is being stopped, as functions/finish_workflow.sql says.
-- One statement deals with one workflow, because the order of locks holds only within one call of resolve().
-- Uses workflows_stopping_idx. Returns one row: the id of the workflow (null, the normal case: there is none), the node behind which to go on
-- (null: all were tried), and why the database refused some jobs (null: it refused none).
select f.workflow, f.last, f.error from pgqueue.finish_workflow(%(after)s::bigint, %(behind)s::bigint, %(at_most)s::int) f
