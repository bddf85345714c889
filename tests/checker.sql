-- Returns one row for each invariant of the queue: its name, the number n of rows that break it, and up to three ids of jobs that break it.
-- An invariant with n > 0 is broken. The query reads the tables of pgqueue, and the schema chk (see checker.py), where a trigger has
-- recorded every change of a job and of a node.
-- Most invariants hold at any moment, even between two faults. I16 and I17 are broken by jobs that make no progress, so they hold only
-- after a time without faults, in which workers could rescue and claim all due jobs.
with paired as (
    -- pgqueue moves a job to another partition by a delete and an insert in one transaction. The trigger can record these two in any order.
    -- A transaction can move a job twice: a retry of a workflow brings the job back, and cancels the job again if it is still not needed.
    -- It can also store a job and move it. Then the number of records is odd, and the first one is the insert of the new job.
    select e.*, (row_number() over (partition by e.job_id, e.xact order by e.seq)
                 - (count(*) over (partition by e.job_id, e.xact) + 1) % 2) / 2 as pair
    from chk.events e
    where e.old_state is null or e.new_state is null
), moved as (
    select e.job_id, e.xact, min(e.seq) as seq, min(e.at) as at,
           coalesce(max(e.old_state) filter (where e.new_state is null), 'none') as from_state,
           coalesce(max(e.new_state) filter (where e.old_state is null), 'none') as to_state,
           max(e.lease_id) as lease_id, max(e.worker_id) as worker_id, max(e.attempt) as attempt, max(e.run_at) as run_at
    from paired e
    group by e.job_id, e.xact, e.pair
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
), release as materialized (
    -- From here on, the job of a node can run: the first time, or again after a retry. A job that comes back from a wait is not released.
    select c.job_id, c.seq from (select c.*, lag(c.from_state) over (partition by c.job_id order by c.seq) as before from change c) c
    where c.to_state = 'pending' and (c.from_state = 'none' or c.from_state = 'waiting' and c.before is distinct from 'running')
), gate_end as (
    select e.node_id, e.seq from chk.node_events e where e.is_gate and e.old_state is null and e.new_state is not null
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
union all select 'I6 a job was completed twice, and not retried in between', count(*), (array_agg(x.job_id))[:3] from (
    select c.job_id from change c group by c.job_id
    having count(*) filter (where c.to_state = 'completed') > 1 + count(*) filter (where c.from_state = 'completed')) x
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
union all select 'D17 a job runs on a worker that does not accept its version', count(*), (array_agg(j.id))[:3]
    from job j join pgqueue.workers w on w.id = j.worker_id
    where j.state = 'running' and j.version is not null and j.task || '@' || j.version <> all(w.accepts)
union all select 'D10 a signal was taken by two waits', count(*), (array_agg(x.job_id))[:3] from (
    select min(c.job_id) as job_id from pgqueue.checkpoints c where c.kind = 'wait' and c.value ? 'signal'
    group by c.value #>> '{signal,id}' having count(*) > 1) x
union all select 'D10b a signal was not taken although its job waits for it', count(*), (array_agg(s.job_id))[:3] from pgqueue.signals s
    join job j on j.id = s.job_id
    where s.taken_by is null and j.state = 'waiting' and s.name = any(j.waits_for)
union all select 'D11 a wait has ended by a signal and by a time-out', count(*), (array_agg(c.job_id))[:3] from pgqueue.checkpoints c
    where c.kind = 'wait' and (c.value ? 'signal')::int + (c.value ? 'timed_out')::int + (c.value ? 'names')::int <> 1
union all select 'D12 a job went on before the end of its sleep', count(*), (array_agg(t.job_id))[:3] from pgqueue.transitions t
    where t.reason = 'sleeping'
      and exists (select from claim c where c.job_id = t.job_id and c.lease_id > t.lease_id and c.at < t.run_at)
      and not exists (select from pgqueue.transitions e where e.job_id = t.job_id and e.at > t.at and e.reason in ('edited', 'revived'))
union all select 'D16b a signal has no job', count(*), (array_agg(s.job_id))[:3] from pgqueue.signals s
    where not exists (select from job j where j.id = s.job_id)
union all select 'D15 a node is undone twice', count(*), (array_agg(x.id))[:3] from (
    select min(u.id) as id from pgqueue.nodes u where u.undoes > 0 group by u.undoes having count(*) > 1) x
union all select 'D15b a node is undone that did not complete', count(*), (array_agg(u.id))[:3] from pgqueue.nodes u
    left join pgqueue.nodes n on n.id = u.undoes
    where u.undoes > 0 and n.state is distinct from 'completed'
union all select 'D15c a node was undone before the undo of one that ended later had ended', count(*), (array_agg(x.job_id))[:3] from (
    select c.job_id from claim c join pgqueue.nodes u on u.id = c.job_id and u.undoes > 0 join pgqueue.nodes n on n.id = u.undoes
    join pgqueue.nodes v on v.workflow_id = u.workflow_id and v.undoes > 0 join pgqueue.nodes m on m.id = v.undoes and m.ended_at > n.ended_at
    where not exists (select from change e where e.job_id = v.id and e.seq < c.seq and e.to_state in ('completed', 'cancelled', 'dead'))) x
union all select 'D16 a checkpoint has no job', count(*), (array_agg(c.job_id))[:3] from pgqueue.checkpoints c
    where not exists (select from job j where j.id = c.job_id)
union all select 'D1 the rows of a step were written twice', count(*), (array_agg(x.job_id))[:3] from (
    select s.job_id from chk.step_rows s group by s.job_id, s.name having count(*) > 1) x
union all select 'D2 a step has rows without a checkpoint, or a checkpoint without rows', count(*), (array_agg(x.job_id))[:3] from (
    select coalesce(s.job_id, c.job_id) as job_id
    from chk.step_rows s
    full join (select c.* from pgqueue.checkpoints c where c.kind = 'effect' and c.name = 'checked') c on (c.job_id, c.name) = (s.job_id, s.name)
    where s.job_id is null or c.job_id is null) x
union all select 'D4 the counters of a node differ from what it waits for', count(*), (array_agg(n.id))[:3] from pgqueue.nodes n
    cross join lateral (
        select count(*) filter (where b.state is null) as unmet, count(*) filter (where b.state <> 'completed') as failed
        from pgqueue.dependencies d join pgqueue.nodes b on b.id = d.on_id where d.node_id = n.id) c
    where (n.unmet, n.failed) is distinct from (c.unmet, c.failed)
union all select 'D5 a job waits for nothing', count(*), (array_agg(j.id))[:3]
    from pgqueue.jobs_live j left join pgqueue.nodes n on n.id = j.id
    where j.state = 'waiting' and j.waits_for is null and coalesce(n.unmet, 0) = 0
      and not exists (select from pgqueue.unresolved u where u.node_id = j.id)
union all select 'D6 a node and its job differ in workflow, state or result', count(*), (array_agg(n.id))[:3]
    from pgqueue.nodes n left join job j on j.id = n.id
    where not n.is_gate
      and (j.id is null and n.state is null or j.workflow_id <> n.workflow_id or (j.finished_at is null) <> (n.state is null)
           or j.state <> n.state or n.state = 'completed' and j.result is distinct from n.result)
union all select 'D6b a gate has a job', count(*), (array_agg(n.id))[:3] from pgqueue.nodes n join job j on j.id = n.id where n.is_gate
union all select 'D7 a node was released against its policy', count(*), (array_agg(r.job_id))[:3] from release r
    cross join lateral (select e.* from chk.node_events e where e.node_id = r.job_id and e.seq < r.seq order by e.seq desc limit 1) e
    where e.new_state is not null or e.unmet <> 0 or e.needs = 'completed' and e.failed > 0 or e.needs = 'failed' and e.failed = 0
union all select 'D7b a node completed more often than its job was claimed', count(*), (array_agg(x.node_id))[:3] from (
    select e.node_id from chk.node_events e
    where not e.is_gate and e.new_state = 'completed' and e.old_state is null
    group by e.node_id having count(*) > (select count(*) from claim c where c.job_id = e.node_id)) x
union all select 'D7c a node that had ended got another end', count(*), (array_agg(e.node_id))[:3] from chk.node_events e
    where e.old_state <> e.new_state
union all select 'D8 a node was released, or a gate ended, before all that it waits for had ended', count(*), (array_agg(r.node_id))[:3]
    from (select r.job_id as node_id, r.seq from release r union all table gate_end) r
    join pgqueue.dependencies d on d.node_id = r.node_id
    cross join lateral (select e.* from chk.node_events e where e.node_id = d.on_id and e.seq < r.seq order by e.seq desc limit 1) e
    where e.new_state is null
union all select 'D8b a gate is open although all that it waits for has ended', count(*), (array_agg(n.id))[:3] from pgqueue.nodes n
    where n.is_gate and n.state is null and n.unmet = 0
      and not exists (select from pgqueue.unresolved u where u.node_id = n.id)
union all select 'D8c a gate ended open, or otherwise than its members say', count(*), (array_agg(g.node_id))[:3] from gate_end g
    join chk.node_events e on e.seq = g.seq
    where e.unmet <> 0 or (e.new_state = 'completed') <> (e.failed = 0)
union all select 'D9 two nodes have the same place in their workflow', count(*), (array_agg(x.id))[:3] from (
    select min(n.id) as id from pgqueue.nodes n where n.rank is not null group by n.workflow_id, n.rank having count(*) > 1) x
union all select 'D8d a batch ended before its last part or its seal, or did not end after both', count(*), (array_agg(w.id))[:3]
    from pgqueue.workflows w
    where w.kind = 'batch'
      and (w.ended_at is null) = (w.sealed_at is not null
           and not exists (select from pgqueue.nodes n where n.workflow_id = w.id and n.members is not null and n.state is null))
      and not exists (select from pgqueue.unresolved u join pgqueue.nodes n on n.id = u.node_id where n.workflow_id = w.id)
union all select 'D13 nobody has looked for a minute at a node that was left to the leader', count(*), (array_agg(u.node_id))[:3]
    from pgqueue.unresolved u join chk.left_nodes l on l.id = u.id where l.at < clock_timestamp() - interval '60 s'
union all select 'D14 a node is open a minute after the end of the job that waits for its workflow', count(*), (array_agg(n.id))[:3]
    from pgqueue.nodes n join pgqueue.workflows w on w.id = n.workflow_id left join job j on j.id = w.parent_job
    where n.state is null and w.parent_job is not null and (j.id is null or j.finished_at < clock_timestamp() - interval '60 s')
union all select 'D16b a signal has no job', count(*), (array_agg(s.job_id))[:3] from pgqueue.signals s
    where not exists (select from job j where j.id = s.job_id)
union all select 'D16c a node has no workflow', count(*), (array_agg(n.id))[:3] from pgqueue.nodes n
    where not exists (select from pgqueue.workflows w where w.id = n.workflow_id)
union all select 'D16d an unfinished job of a workflow has no node', count(*), (array_agg(j.id))[:3] from job j
    where j.workflow_id is not null and j.finished_at is null and not exists (select from pgqueue.nodes n where n.id = j.id)
union all select 'D18 a workflow counts as stopped, but a job that it should have ended is open', count(*), (array_agg(n.id))[:3]
    from pgqueue.workflows w join pgqueue.nodes n on n.workflow_id = w.id
    where w.stopped_at is not null and n.state is null and not n.is_gate and n.undoes is null
      and (w.stop_reason = 'workflow_cancelled' and w.kind <> 'batch' or n.needs = 'completed')
union all select 'D19 an edge of an open node leads nowhere, backwards or into another workflow', count(*), (array_agg(d.node_id))[:3]
    from pgqueue.dependencies d left join pgqueue.nodes n on n.id = d.node_id left join pgqueue.nodes b on b.id = d.on_id
    where n.id is null or n.state is null and (b.id is null or b.id >= n.id or b.workflow_id <> n.workflow_id)
union all select 'D19b a node that was left to the leader does not exist', count(*), (array_agg(u.node_id))[:3] from pgqueue.unresolved u
    where not exists (select from pgqueue.nodes n where n.id = u.node_id)
