-- Returns one row for each invariant of the queue: its name, the number n of rows that break it, and up to three ids of jobs that break it.
-- An invariant with n > 0 is broken. The query reads the tables of pgqueue, and the schema chk (see checker.py), where a trigger has
-- recorded every change of a job.
-- Most invariants hold at any moment, even between two faults. I16 and I17 are broken by jobs that make no progress, so they hold only
-- after a time without faults, in which workers could rescue and claim all due jobs.
with moved as (
    -- pgqueue moves a job to another partition by a delete and an insert in one transaction. The trigger can record these two in any order.
    select e.job_id, e.xact, min(e.seq) as seq, min(e.at) as at,
           coalesce(max(e.old_state) filter (where e.new_state is null), 'none') as from_state,
           coalesce(max(e.new_state) filter (where e.old_state is null), 'none') as to_state,
           max(e.lease_id) as lease_id, max(e.worker_id) as worker_id, max(e.attempt) as attempt, max(e.run_at) as run_at
    from chk.events e
    where e.old_state is null or e.new_state is null
    group by e.job_id, e.xact
), change as materialized (
    select m.job_id, m.xact, m.seq, m.at, m.from_state, m.to_state, m.lease_id, m.worker_id, m.attempt, m.run_at
    from moved m
    union all
    select e.job_id, e.xact, e.seq, e.at, e.old_state, e.new_state, e.lease_id, e.worker_id, e.attempt, e.run_at
    from chk.events e
    where e.old_state is not null and e.new_state is not null
), claim as materialized (
    select c.*, coalesce(lag(c.lease_id) over (partition by c.job_id order by c.seq), 0) as former_lease_id
    from change c
    where c.to_state = 'running'
), last_change as materialized (
    select distinct on (c.job_id) c.* from change c order by c.job_id, c.seq desc
), job as materialized (
    select j.*, (j.args ->> 'op')::bigint as op, 'effect' = any(j.tags) as has_effect from pgqueue.jobs j
), known as (
    -- The changes that must have a row in `transitions`: all except enqueues, claims and completions.
    select c.job_id, c.lease_id, c.from_state, c.to_state
    from change c
    where c.from_state <> 'none' and c.to_state not in ('none', 'running', 'completed')
), written as (
    select t.job_id, t.lease_id, t.from_state, t.to_state from pgqueue.transitions t where t.reason <> 'edited'
)
select 'I1 an acknowledged enqueue is lost' as invariant, count(*) as n, null::bigint[] as jobs from chk.intents i
    where i.outcome = 'ack' and not exists (select from job j where j.op = i.op)
union all select 'I1b a job of a rolled back enqueue exists', count(*),
    (array_agg((select j.id from job j where j.op = i.op limit 1)))[:3] from chk.intents i
    where i.outcome = 'rollback' and exists (select from job j where j.op = i.op)
union all select 'I2a a business row has no job', count(*), null from chk.business b
    where not exists (select from job j where j.op = b.op)
union all select 'I2b a job has no business row', count(*), (array_agg(j.id))[:3] from job j
    where j.op is not null and not exists (select from chk.business b where b.op = j.op)
union all select 'I3 a transactional effect was written twice', count(*), (array_agg(x.job_id))[:3] from (
    select min(e.job_id) as job_id from chk.effects e group by e.op having count(*) > 1) x
union all select 'I4 a job is completed without its effect, or has an effect and is not completed', count(*),
    (array_agg(j.id))[:3] from job j
    where j.has_effect and (j.state = 'completed') is distinct from exists (select from chk.effects e where e.op = j.op)
union all select 'I5 an effect was not committed together with the completion of its attempt', count(*),
    (array_agg(e.job_id))[:3] from chk.effects e
    where not exists (select from change c
                      where c.job_id = e.job_id and c.lease_id = e.lease_id and c.to_state = 'completed' and c.xact = e.xact)
union all select 'I6 a job was completed twice', count(*), (array_agg(x.job_id))[:3] from (
    select c.job_id from change c where c.to_state = 'completed' group by c.job_id having count(*) > 1) x
union all select 'I7 the columns of a job contradict its state', count(*), (array_agg(j.id))[:3] from job j
    where (j.state in ('completed', 'cancelled', 'dead')) <> (j.finished_at is not null)
       or (j.finished_at is null and (j.state = 'running') <> (j.worker_id is not null))
union all select 'I7b a job has more than one row', count(*), (array_agg(x.id))[:3] from (
    select j.id from job j group by j.id having count(*) > 1) x
union all select 'I8 the number of attempts is out of bounds', count(*), (array_agg(j.id))[:3] from job j
    where j.attempt > j.max_attempts or j.attempt < 0 or (j.state in ('running', 'completed') and j.attempt < 1)
union all select 'I9 the lease_id of a job is not the lease_id of its last claim, or two claims of a job have the same lease_id',
    count(*), (array_agg(x.id))[:3] from (
    select j.id from job j left join claim c on c.job_id = j.id
    group by j.id, j.lease_id having j.lease_id <> coalesce(max(c.lease_id), 0) or count(distinct c.lease_id) <> count(c.job_id)) x
union all select 'I10 a running job does not belong to the worker that claimed it last', count(*), (array_agg(j.id))[:3] from job j
    left join last_change c on c.job_id = j.id
    where j.state = 'running'
      and (c.to_state, c.lease_id, c.worker_id) is distinct from ('running', j.lease_id, j.worker_id)
union all select 'I11 a running job was claimed, or a claim did not raise its lease_id', count(*), (array_agg(c.job_id))[:3] from claim c
    where c.from_state = 'running' or c.lease_id <= c.former_lease_id
union all select 'I11b a job was rescued before the lease of its worker had run out', count(*), (array_agg(r.job_id))[:3] from chk.rescues r
    where r.expires_at > r.at
union all select 'I12 a job was claimed before its run_at', count(*), (array_agg(c.job_id))[:3] from claim c where c.at < c.run_at
union all select 'I13 one request has two jobs', count(*), (array_agg(x.job_id))[:3] from (
    select min(j.id) as job_id from job j where j.op is not null group by j.task, j.op having count(*) > 1) x
union all select 'I13b two unfinished jobs have the same unique key', count(*), (array_agg(x.job_id))[:3] from (
    select min(j.id) as job_id from job j where j.unique_key is not null and j.finished_at is null
    group by j.task, j.unique_key having count(*) > 1) x
union all select 'I16 a job is running, but the lease of its worker ran out long ago', count(*),
    (array_agg(j.id))[:3] from job j left join pgqueue.workers w on w.id = j.worker_id
    where j.state = 'running' and coalesce(w.expires_at, '-infinity') < clock_timestamp() - interval '15 s'
union all select 'I17 a due job was not claimed for a minute', count(*), (array_agg(j.id))[:3] from job j
    where j.state in ('pending', 'retrying') and j.run_at < clock_timestamp() - interval '60 s'
union all select 'I19 a change of state is not allowed', count(*), (array_agg(c.job_id))[:3] from change c
    where (c.from_state, c.to_state) not in (
        ('none', 'pending'), ('none', 'waiting'), ('waiting', 'pending'), ('waiting', 'cancelled'),
        ('pending', 'running'), ('pending', 'cancelled'), ('retrying', 'running'), ('retrying', 'cancelled'),
        ('pending', 'dead'), ('retrying', 'dead'), ('waiting', 'dead'),
        ('running', 'completed'), ('running', 'retrying'), ('running', 'pending'), ('running', 'waiting'),
        ('running', 'cancelled'), ('running', 'dead'),
        ('dead', 'pending'), ('cancelled', 'pending'), ('dead', 'waiting'), ('cancelled', 'waiting'), ('completed', 'waiting'))
union all select 'I20 the number of jobs differs from the number of created jobs', abs(
    (select count(*) from change c where c.from_state = 'none') - (select count(*) from job)), null
union all select 'I25 the rows of transitions differ from the recorded changes', count(*), (array_agg(x.job_id))[:3] from (
    (table known except all table written) union all (table written except all table known)) x
union all select 'D3 a checkpoint was stored under a lease after a later claim of its job', count(*), (array_agg(c.job_id))[:3]
    from pgqueue.checkpoints c
    where exists (select from chk.events e where e.job_id = c.job_id and e.new_state = 'running' and e.lease_id > c.lease_id and e.at < c.at)
union all select 'D16 a checkpoint has no job', count(*), (array_agg(c.job_id))[:3] from pgqueue.checkpoints c
    where not exists (select from job j where j.id = c.job_id)
