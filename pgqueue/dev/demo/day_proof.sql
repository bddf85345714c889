-- Returns one row for each task of the shop: how many jobs it has, how they ended, and what the receivers got from them.
-- %(since)s: when the demo began. The query sees only committed rows.
WITH
job AS MATERIALIZED (
    SELECT j.id, substring(j.task FROM '[^.]+$') AS task, j.state, o.order_id
    FROM pgqueue.jobs AS j
    LEFT JOIN demo.orders AS o ON o.order_id = (j.args ->> 'order_id')::int
    WHERE j.created_at >= %(since)s AND j.task LIKE 'demo.shop.%%'
),
jobs AS (
    SELECT
        task,
        count(*) FILTER (WHERE order_id IS NULL) AS orphans,  -- jobs of orders that were rolled back
        count(*) FILTER (WHERE state = 'completed') AS completed,
        count(*) FILTER (WHERE state = 'dead') AS dead,
        count(*) AS jobs
    FROM job
    GROUP BY task
),
again AS MATERIALIZED (  -- attempts that failed or whose worker died, after which the job ran again
    SELECT job.task, job.id, t.reason = 'rescued' AS rescued
    FROM pgqueue.transitions AS t
    JOIN job ON job.id = t.job_id
    WHERE t.from_state = 'running' AND t.to_state IN ('pending', 'retrying')
),
attempts AS (
    SELECT task, count(*) FILTER (WHERE NOT rescued) AS retried, count(*) FILTER (WHERE rescued) AS rescued
    FROM again
    GROUP BY task
),
effect AS MATERIALIZED (
    SELECT 'send_receipt' AS task, order_id, key, repeat FROM demo.mails
    UNION ALL
    SELECT 'notify_warehouse', order_id, key, repeat FROM demo.deliveries
    UNION ALL
    SELECT 'record_sale', order_id, 'job-' || job_id, false FROM demo.sales
),
effects AS (
    SELECT
        task,
        count(*) AS received,
        count(DISTINCT key) AS distinct_keys,
        -- only a job that ran again is allowed to have repeated its effect
        bool_and(NOT repeat OR key IN (SELECT 'job-' || id FROM again)) AS repeats_explained
    FROM effect
    GROUP BY task
),
once AS (
    SELECT task, count(*) AS once
    FROM (
        SELECT task, order_id FROM effect WHERE NOT repeat GROUP BY task, order_id HAVING count(*) = 1
    ) AS served
    GROUP BY task
),
line AS (
    SELECT
        task,
        (SELECT count(*) FROM demo.orders) AS orders,
        coalesce(jobs, 0) AS jobs,
        coalesce(orphans, 0) AS orphans,
        coalesce(completed, 0) AS completed,
        coalesce(dead, 0) AS dead,
        coalesce(retried, 0) AS retried,
        coalesce(rescued, 0) AS rescued,
        coalesce(received, 0) AS received,
        coalesce(distinct_keys, 0) AS distinct_keys,
        coalesce(once, 0) AS once,
        coalesce(repeats_explained, true) AS repeats_explained
    FROM (VALUES (1, 'send_receipt'), (2, 'notify_warehouse'), (3, 'record_sale')) AS tasks (position, task)
    LEFT JOIN jobs USING (task)
    LEFT JOIN attempts USING (task)
    LEFT JOIN effects USING (task)
    LEFT JOIN once USING (task)
    ORDER BY position
)
SELECT
    task, orders, jobs, orphans, completed, dead, retried, rescued, received, distinct_keys, once,
    orders = completed + dead AND orders = jobs AND orphans = 0
    AND completed = distinct_keys AND completed = once AND repeats_explained AS proven
FROM line
