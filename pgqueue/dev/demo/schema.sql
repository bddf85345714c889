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

-- The second act. Here, too, the tables of effects have no unique key.
CREATE TABLE demo.large_orders (
    order_id     int PRIMARY KEY,
    customer_id  int NOT NULL,
    quantity     int NOT NULL,
    amount       numeric(10, 2) NOT NULL,
    card_is_good boolean NOT NULL,   -- if not, the bank declines the charge
    address      text,               -- null: the carrier does not know it
    approver     text,               -- the person who approves the charge, if it needs an approval; null: nobody does
    patience     int NOT NULL        -- seconds for which the charge waits for the approval
);

CREATE TABLE demo.reservations (     -- the effect of reserve: a row for each CD
    order_id int NOT NULL,
    cd       int NOT NULL
);

CREATE TABLE demo.charges (          -- the effect of charge
    order_id int NOT NULL,
    amount   numeric(10, 2) NOT NULL
);

CREATE TABLE demo.shipments (        -- the effect of ship
    order_id int NOT NULL,
    address  text NOT NULL
);

CREATE TABLE demo.refunds (          -- the effect of refund, which undoes charge
    order_id int NOT NULL,
    amount   numeric(10, 2) NOT NULL
);

CREATE TABLE demo.releases (         -- the effect of release, which undoes reserve: a row for each CD
    order_id int NOT NULL,
    cd       int NOT NULL
);
