-- Returns one row for each kind of effect of the second act: how many effects must have happened, how many did, which of them are missing,
-- and which are too many. What must have happened follows from the orders alone. %(since)s: when the act began. %(approved_from)s: the amount
-- from which a person approves the charge. The query sees only committed rows.
WITH
paying AS (
    SELECT * FROM demo.large_orders WHERE card_is_good AND (approver IS NOT NULL OR amount < %(approved_from)s::numeric)
),
undone AS (
    SELECT * FROM demo.large_orders
    WHERE address IS NULL OR order_id NOT IN (SELECT order_id FROM paying)
),
expected (effect, order_id, what) AS (
    SELECT 'workflow', order_id, CASE WHEN order_id IN (SELECT order_id FROM undone) THEN 'undone' ELSE 'completed' END
    FROM demo.large_orders
    UNION ALL
    SELECT 'reserve', order_id, cd::text FROM demo.large_orders, generate_series(1, quantity) AS cd
    UNION ALL
    SELECT 'charge', order_id, amount::text FROM paying
    UNION ALL
    SELECT 'ship', order_id, address FROM paying WHERE address IS NOT NULL
    UNION ALL
    SELECT 'refund', order_id, amount::text FROM paying WHERE address IS NULL
    UNION ALL
    SELECT 'release', order_id, cd::text FROM undone, generate_series(1, quantity) AS cd
),
happened (effect, order_id, what) AS (
    SELECT 'workflow', (j.args ->> 'order_id')::int, w.state
    FROM pgqueue.jobs AS j
    JOIN pgqueue.workflow_overview AS w ON w.id = j.workflow_id
    WHERE j.task = 'demo.orders.reserve' AND j.created_at >= %(since)s
    UNION ALL
    SELECT 'reserve', order_id, cd::text FROM demo.reservations
    UNION ALL
    SELECT 'charge', order_id, amount::text FROM demo.charges
    UNION ALL
    SELECT 'ship', order_id, address FROM demo.shipments
    UNION ALL
    SELECT 'refund', order_id, amount::text FROM demo.refunds
    UNION ALL
    SELECT 'release', order_id, cd::text FROM demo.releases
),
-- EXCEPT ALL counts equal rows. So if an effect must happen once but has happened twice, one row is left.
missing AS (
    SELECT * FROM expected EXCEPT ALL SELECT * FROM happened
),
surplus AS (
    SELECT * FROM happened EXCEPT ALL SELECT * FROM expected
),
line AS (
    SELECT
        effect,
        (SELECT count(*) FROM expected AS e WHERE e.effect = k.effect) AS expected,
        (SELECT count(*) FROM happened AS h WHERE h.effect = k.effect) AS happened,
        (SELECT count(*) FROM missing AS m WHERE m.effect = k.effect) AS missing,
        (SELECT count(*) FROM surplus AS s WHERE s.effect = k.effect) AS surplus
    FROM (
        VALUES (1, 'workflow'), (2, 'reserve'), (3, 'charge'), (4, 'ship'), (5, 'refund'), (6, 'release')
    ) AS k (position, effect)
    ORDER BY position
)
SELECT effect, expected, happened, missing, surplus, expected > 0 AND missing = 0 AND surplus = 0 AS proven
FROM line
