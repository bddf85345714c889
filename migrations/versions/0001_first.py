"""Jobs with their partitions, queues, workers, transitions, idempotency keys."""

from __future__ import annotations

import re

from alembic import op
from sqlalchemy import text

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

FLAGS = 64
COMMENT = re.compile(r"--.*")

JOBS = r"""
create sequence pgqueue.jobs_id_seq as bigint;

-- What a caller may write into a column is a domain's check, not the table's: a table's checks are read from the catalog
-- by every statement that touches it and evaluated again for each claim and settle, which cost them a third.
-- A regex with a bounded repeat, {0,62}, costs twenty times one with a star.
create domain pgqueue.queue_name as text collate "C"
    check (value ~ '^[A-Za-z_][A-Za-z0-9_.:-]*$' and octet_length(value) <= 63);
create domain pgqueue.task_name as text collate "C"
    check (value ~ '^[A-Za-z_][A-Za-z0-9_.:-]*$' and octet_length(value) <= 127);
create domain pgqueue.job_key as text collate "C" check (octet_length(value) between 1 and 255);
create domain pgqueue.job_args as jsonb check (jsonb_typeof(value) = 'object' and pg_column_size(value) <= 2097152);
create domain pgqueue.job_meta as jsonb check (jsonb_typeof(value) = 'object' and pg_column_size(value) <= 524288);
create domain pgqueue.job_tags as text[]
    check (cardinality(value) <= 32 and array_position(value, null) is null and pg_column_size(value) <= 4096);
create domain pgqueue.job_time as timestamptz
    check (value >= '2000-01-01 00:00+00' and value < '3000-01-01 00:00+00');
create domain pgqueue.job_timeout as interval check (value > interval '0' and value <= interval '365 days');
create domain pgqueue.attempts as smallint check (value between 1 and 10000);

create table pgqueue.jobs (
    id              bigint      not null default nextval('pgqueue.jobs_id_seq'),
    lease_id        bigint      not null default 0,
    worker_id       bigint,
    run_at          pgqueue.job_time not null default now(),
    created_at      pgqueue.job_time not null default now(),
    started_at      timestamptz,
    finished_at     timestamptz,
    priority        smallint    not null default 0,
    attempt         smallint    not null default 0,
    max_attempts    pgqueue.attempts not null default 6,
    crash_count     smallint    not null default 0,
    cancel_requested boolean    not null default false,
    state           text        collate "C" not null default 'pending',
    queue           pgqueue.queue_name not null default 'default',
    task            pgqueue.task_name not null,
    unique_key      pgqueue.job_key,
    concurrency_key pgqueue.job_key,
    timeout         pgqueue.job_timeout,
    tags            pgqueue.job_tags not null default '{}',
    args            pgqueue.job_args not null default '{}',
    meta            pgqueue.job_meta not null default '{}',
    trace_context   jsonb,
    progress        jsonb,
    result          jsonb,
    last_error      text,
    last_traceback  text
) partition by list (state);

create table pgqueue.jobs_live partition of pgqueue.jobs
    for values in ('pending', 'running', 'retrying', 'waiting')
    -- half of a page is kept for the claims of the jobs on it: the new version of a row needs no other page, and the log
    -- holds only what changed (320 bytes less a job)
    with (fillfactor = 50, autovacuum_vacuum_scale_factor = 0.01, autovacuum_vacuum_threshold = 2000,
          autovacuum_vacuum_cost_delay = 0, autovacuum_analyze_scale_factor = 0.2,
          autovacuum_analyze_threshold = 10000, toast.autovacuum_vacuum_scale_factor = 0.05,
          toast.autovacuum_vacuum_threshold = 2000, toast.autovacuum_vacuum_cost_delay = 0);
alter table pgqueue.jobs_live add constraint jobs_live_shape_check
    check (finished_at is null and (state = 'running') = (worker_id is not null));
create table pgqueue.jobs_dead partition of pgqueue.jobs for values in ('dead');
alter table pgqueue.jobs_dead alter column finished_at set not null;
create table pgqueue.jobs_done partition of pgqueue.jobs
    for values in ('completed', 'cancelled') partition by range (finished_at);
alter table pgqueue.jobs_done alter column finished_at set not null;
create table pgqueue.jobs_done_default partition of pgqueue.jobs_done default;

create unique index jobs_live_id_key on pgqueue.jobs_live (id);
create unique index jobs_dead_id_key on pgqueue.jobs_dead (id);
create unique index jobs_done_default_id_key on pgqueue.jobs_done_default (id);
create index jobs_live_claim_idx on pgqueue.jobs_live (queue, priority, run_at, id)
    where state in ('pending', 'retrying');
create index jobs_live_worker_idx on pgqueue.jobs_live (worker_id) where worker_id is not null;
create index jobs_live_cancel_idx on pgqueue.jobs_live (worker_id) where cancel_requested;
create unique index jobs_live_unique_key on pgqueue.jobs_live (task, unique_key)
    where unique_key is not null;
"""

REST = r"""
create table pgqueue.queues (
    id          integer     generated by default as identity primary key,
    name        pgqueue.queue_name not null,
    paused      boolean     not null default false,
    retention   interval    not null default '7 days',
    created_at  timestamptz not null default now(),
    constraint queues_name_key unique (name),
    constraint queues_retention_check check (retention >= interval '0')
);
insert into pgqueue.queues (name) values ('default');

create table pgqueue.workers (
    id           bigint      generated by default as identity primary key,
    started_at   timestamptz not null default now(),
    heartbeat_at timestamptz not null default now(),
    expires_at   timestamptz not null,
    stopped_at   timestamptz,
    pid          integer     not null,
    slots        integer     not null,
    state        text        collate "C" not null default 'running',
    host         text        not null,
    version      text        not null,
    executor     text        not null,
    queues       text[]      not null,
    tasks        text[]      not null,
    constraint workers_state_check check (state in ('running', 'draining', 'stopped', 'expired')),
    constraint workers_slots_check check (slots >= 0)
);
create index workers_expires_at_idx on pgqueue.workers (expires_at) where state in ('running', 'draining');

create table pgqueue.leader (
    singleton  boolean     primary key default true,
    worker_id  bigint      not null,
    expires_at timestamptz not null,
    constraint leader_singleton_check check (singleton)
);

create table pgqueue.transitions (
    at         timestamptz not null default clock_timestamp(),
    job_id     bigint      not null,
    lease_id   bigint      not null,
    worker_id  bigint,
    run_at     timestamptz,
    attempt    smallint    not null,
    from_state text        collate "C" not null,
    to_state   text        collate "C" not null,
    reason     text        not null,
    error      text,
    traceback  text
) partition by range (at);
create table pgqueue.transitions_default partition of pgqueue.transitions default;
create index transitions_job_id_idx on pgqueue.transitions (job_id, at);

create table pgqueue.idempotency_keys (
    job_id      bigint      not null,
    created_at  timestamptz not null default clock_timestamp(),
    expires_at  timestamptz not null,
    task        pgqueue.task_name not null,
    key         pgqueue.job_key not null,
    fingerprint bytea       not null,
    constraint idempotency_keys_pkey primary key (task, key)
);
create index idempotency_keys_expires_at_idx on pgqueue.idempotency_keys (expires_at);

create sequence pgqueue.waited_until as bigint minvalue 0;
"""

VIEWS = r"""
create view pgqueue.running as
    select j.id, j.queue, j.task, j.args, j.priority, j.attempt, j.max_attempts, j.started_at,
           j.lease_id, j.worker_id, w.host, w.pid, w.heartbeat_at, w.expires_at as lease_until
    from pgqueue.jobs_live j left join pgqueue.workers w on w.id = j.worker_id
    where j.state = 'running';

create view pgqueue.dead_letters as
    select j.id, j.queue, j.task, j.args, j.attempt, j.max_attempts, t.reason, j.last_error,
           j.last_traceback, j.worker_id, w.host, w.pid, j.created_at, j.finished_at
    from pgqueue.jobs_dead j
    left join lateral (select t.reason from pgqueue.transitions t
                       where t.job_id = j.id and t.to_state = 'dead' order by t.at desc limit 1) t on true
    left join pgqueue.workers w on w.id = j.worker_id;

create view pgqueue.queue_depth as
    select q.name as queue, q.paused,
           count(j.id) filter (where j.state in ('pending', 'retrying') and j.run_at <= now()) as due,
           count(j.id) filter (where j.state in ('pending', 'retrying') and j.run_at > now()) as scheduled,
           count(j.id) filter (where j.state = 'waiting') as waiting,
           count(j.id) filter (where j.state = 'running') as running,
           min(j.run_at) filter (where j.state in ('pending', 'retrying') and j.run_at <= now()) as oldest_due
    from pgqueue.queues q left join pgqueue.jobs_live j on j.queue = q.name
    group by q.name, q.paused;

create view pgqueue.job_timeline as
    select j.id as job_id, j.created_at as at, null::text as from_state, 'pending'::text as to_state,
           'enqueued'::text as reason, 0::smallint as attempt, null::bigint as worker_id, null::text as error
    from pgqueue.jobs j
    union all
    select t.job_id, t.at, t.from_state, t.to_state, t.reason, t.attempt, t.worker_id, t.error
    from pgqueue.transitions t
    union all
    select j.id, j.started_at, case when j.attempt > 1 then 'retrying' else 'pending' end, 'running', 'claimed', j.attempt, j.worker_id, null
    from pgqueue.jobs j where j.started_at is not null
    union all
    select j.id, j.finished_at, 'running', 'completed', 'completed', j.attempt, j.worker_id, null
    from pgqueue.jobs j where j.state = 'completed';
"""


def execute(script: str) -> None:
    # One statement a time: a prepared statement holds no more. No statement here contains a semicolon; comments may.
    for statement in COMMENT.sub("", script).split(";"):
        if statement.strip():
            op.execute(text(statement.strip().replace(":", "\\:")))


def upgrade() -> None:
    execute(JOBS)
    execute(REST)
    for flag in range(FLAGS):
        execute(f"create sequence pgqueue.awake_{flag} as bigint minvalue 0")
    execute(VIEWS)
