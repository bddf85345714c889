-- The shop's own tables, apart from the queue's. The tables of effects have no unique key on purpose: an effect that happens
-- twice is there twice.
CREATE SCHEMA demo;

CREATE TABLE demo.orders (
    order_id    int PRIMARY KEY,
    customer_id int NOT NULL,
    placed_on   date NOT NULL,
    quantity    int NOT NULL,
    amount      numeric(10, 2) NOT NULL
);

CREATE TABLE demo.sales (            -- an effect inside the database
    job_id   bigint NOT NULL,
    order_id int NOT NULL,
    amount   numeric(10, 2) NOT NULL
);

CREATE TABLE demo.mails (            -- what the mail server received
    id          bigint GENERATED ALWAYS AS IDENTITY,
    received_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    order_id    int NOT NULL,
    key         text NOT NULL,       -- from Message-ID: the job, 'job-42'
    repeat      boolean NOT NULL     -- the receiver has seen this key and ignored the mail
);

CREATE TABLE demo.deliveries (       -- what the warehouse's webhook accepted
    id          bigint GENERATED ALWAYS AS IDENTITY,
    received_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    order_id    int NOT NULL,
    key         text NOT NULL,       -- from Idempotency-Key
    repeat      boolean NOT NULL
);
