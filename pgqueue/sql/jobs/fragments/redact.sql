-- What is secret in a job, as a worker has declared it for the job's task. For the job of a hook, the declaration is that of the hook's task.
(select t.redact::text from pgqueue.tasks t
 where t.name operator(pg_catalog.=) pg_catalog.regexp_replace(j.task, ':on_[a-z]+$', '')) as redact
