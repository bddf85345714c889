-- The tables of the shop. They are in another schema than the tables of the queue. The tables of effects (sales, mails, deliveries) have
-- no unique key on purpose: if an effect happens twice, it has two rows.
CREATE SCHEMA demo;

CREATE TABLE demo.orders (
    order_id    int PRIMARY KEY,
    customer_id int NOT NULL,
    placed_on   date NOT NULL,
    quantity    int NOT NULL,
    amount      numeric(10, 2) NOT NULL
);

CREATE TABLE demo.sales (            -- the effect of record_sale, inside the database
    job_id   bigint NOT NULL,
    order_id int NOT NULL,
    amount   numeric(10, 2) NOT NULL
);

CREATE TABLE demo.mails (            -- what the mail server received
    id          bigint GENERATED ALWAYS AS IDENTITY,
    received_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    order_id    int NOT NULL,
    key         text NOT NULL,       -- from the header Message-ID; the id of the job, such as 'job-42'
    repeat      boolean NOT NULL     -- the receiver had seen this key before, so it ignored the mail
);

CREATE TABLE demo.deliveries (       -- what the warehouse's webhook accepted
    id          bigint GENERATED ALWAYS AS IDENTITY,
    received_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    order_id    int NOT NULL,
    key         text NOT NULL,       -- from the header Idempotency-Key; the id of the job
    repeat      boolean NOT NULL
);
