-- Cancels what is open of the first workflow with an id greater than `after` that is being stopped, as functions/finish_workflow.sql says.
-- One statement deals with one workflow, because the order of locks holds only within one call of resolve().
-- Uses workflows_stopping_idx. Returns the id of the workflow; null, the normal case: there is none.
select pgqueue.finish_workflow(%(after)s::bigint)
