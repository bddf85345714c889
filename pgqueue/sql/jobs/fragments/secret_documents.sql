-- The documents of a job that can contain secret values, and what is declared as secret in them. A statement that ends with these columns can
-- mask what it shows of the job (database/statements/masking.py).
j.task, pgqueue.text_of(j.args) as args, pgqueue.text_of(j.result) as result, pgqueue.text_of(j.meta) as meta,
--+ redact j
