"""For each invariant of the checker: a statement that breaks it.

The statements run on a database with a completed, a running and a pending job, and a workflow: node a is completed, b is pending, the gate g
waits for both, and c waits for the gate.
"""

from __future__ import annotations

SABOTAGE = {
    "I1": "insert into chk.intents values (99, 'ack')",
    "I1b": "insert into chk.intents values (1, 'rollback')",
    "I2a": "insert into chk.business values (99)",
    "I2b": "delete from chk.business where op = 1",
    "I3": "insert into chk.effects select * from chk.effects",
    "I4": "delete from chk.effects where op = 1",
    "I5": "update chk.effects set lease_id = 7 where op = 1",
    "I6": "insert into chk.events (xact, job_id, new_state, lease_id, attempt, run_at)"
    " select '1', job_id, 'completed', lease_id, attempt, run_at from chk.events where new_state = 'completed'",
    "I7": "alter table pgqueue.jobs_live drop constraint jobs_live_shape_check;"
    " update pgqueue.jobs_live set worker_id = 5 where state = 'pending'",
    "I7b": 'insert into pgqueue.jobs_dead select * from (select (jsonb_populate_record(j, \'{"state": "dead"}\')).*'
    " from pgqueue.jobs j where state = 'completed') x",
    "I8": "update pgqueue.jobs set attempt = max_attempts + 1 where state = 'running'",
    "I9": "update pgqueue.jobs set lease_id = lease_id + 1 where state = 'completed'",
    "I10": "update pgqueue.jobs set worker_id = worker_id + 1 where state = 'running'",
    "I11": "update chk.events set old_state = 'running' where new_state = 'running'",
    "I11b": "insert into chk.rescues values (1, 1, 1, now(), now() + interval '1 s')",
    "I12": "update chk.events set run_at = at + interval '1 s' where new_state = 'running'",
    "I13": "update pgqueue.jobs set args = '{\"op\": 1}' where state = 'running'",
    "I13b": "drop index pgqueue.jobs_live_unique_key; update pgqueue.jobs set unique_key = 'same', task = 'same'",
    "I16": "update pgqueue.workers set expires_at = now() - interval '1 hour'",
    "I17": "update pgqueue.jobs set run_at = now() - interval '1 hour' where state = 'pending'",
    "I19": "update chk.events set old_state = 'dead' where new_state = 'running'",
    "I20": "delete from pgqueue.jobs where state = 'pending'",
    "I25": "insert into pgqueue.transitions (job_id, lease_id, attempt, from_state, to_state, reason)"
    " values (1, 1, 1, 'running', 'dead', 'x')",
    "D3": "insert into pgqueue.checkpoints (job_id, lease_id, worker_id, kind, name, value)"
    " select id, 1, 1, 'step', 'a', '1' from pgqueue.jobs where state = 'running'",
    "D10": "insert into pgqueue.checkpoints (job_id, lease_id, worker_id, kind, name, value)"
    " select id, lease_id, worker_id, 'wait', 'wait:' || n, '{\"signal\": {\"id\": 7}}' from pgqueue.jobs, generate_series(1, 2) n"
    " where state = 'running'",
    "D10b": "alter table pgqueue.signals disable trigger signals_arrived_trigger;"
    " insert into pgqueue.signals (job_id, name) select id, 'a' from pgqueue.jobs where state = 'pending';"
    " update pgqueue.jobs set state = 'waiting', waits_for = '{a}' where state = 'pending'",
    "D11": "insert into pgqueue.checkpoints (job_id, lease_id, worker_id, kind, name, value)"
    " select id, lease_id, worker_id, 'wait', 'wait:a', '{\"signal\": {\"id\": 7}, \"timed_out\": 1}' from pgqueue.jobs"
    " where state = 'running'",
    "D12": "insert into pgqueue.transitions (job_id, lease_id, attempt, run_at, from_state, to_state, reason)"
    " select id, lease_id - 1, 1, now() + interval '1 hour', 'running', 'pending', 'sleeping' from pgqueue.jobs where state = 'running'",
    "D17": "update pgqueue.jobs set version = 3 where state = 'running'",
    "D15": "drop index pgqueue.nodes_undoes_key; update pgqueue.nodes set undoes = 1 where name in ('b', 'c')",
    "D15b": "update pgqueue.nodes set undoes = (select b.id from pgqueue.nodes b where b.name = 'b') where name = 'c'",
    "D15c": "update pgqueue.nodes n set undoes = m.id from pgqueue.nodes m where (n.name, m.name) in (('a', 'c'), ('b', 'g'));"
    " update pgqueue.nodes set ended_at = now() - case name when 'c' then interval '1 hour' else '0 s' end where name in ('c', 'g')",
    "D16": "insert into pgqueue.checkpoints (job_id, lease_id, worker_id, kind, name, value) values (99, 1, 1, 'step', 'a', '1')",
    "D1": "insert into chk.step_rows values (1, 'checked'), (1, 'checked')",
    "D2": "insert into chk.step_rows values (1, 'checked')",
    "D4": "update pgqueue.nodes set unmet = unmet + 1 where name = 'c'",
    "D5": "update pgqueue.nodes set unmet = 0 where name = 'c'",
    "D6": "update pgqueue.nodes set state = 'completed' where name = 'b'",
    "D6b": "update pgqueue.nodes set is_gate = true where name = 'b'",
    "D7": "update chk.node_events set failed = 1 where node_id = (select id from pgqueue.nodes where name = 'b')",
    "D7b": "delete from chk.events where new_state = 'running' and job_id = (select id from pgqueue.nodes where name = 'a')",
    "D7c": "update chk.node_events set old_state = 'dead' where new_state = 'completed'",
    "D8": "update chk.node_events set new_state = null where node_id = (select id from pgqueue.nodes where name = 'a')",
    "D8b": "update pgqueue.nodes set unmet = 0 where is_gate",
    "D8c": "insert into chk.node_events (node_id, new_state, unmet, failed, needs, is_gate)"
    " select id, 'completed', 0, 1, needs, true from pgqueue.nodes where is_gate",
    "D8d": "update pgqueue.workflows set kind = 'batch', ended_at = now()",
    "D9": "drop index pgqueue.nodes_workflow_key; update pgqueue.nodes set rank = 1",
    "D13": "insert into pgqueue.unresolved (node_id) select id from pgqueue.nodes;"
    " insert into chk.left_nodes select id, now() - interval '1 hour' from pgqueue.unresolved",
    "D14": "update pgqueue.workflows set parent_job = 99",
    "D16b": "insert into pgqueue.signals (job_id, name) values (99, 'a')",
    "D16c": "delete from pgqueue.workflows",
    "D16d": "delete from pgqueue.nodes where name = 'b'",
    "D18": "update pgqueue.workflows set stopped_at = now(), stop_reason = 'workflow_cancelled'",
    "D19": "insert into pgqueue.dependencies (on_id, node_id)"
    " select c.id, b.id from pgqueue.nodes b, pgqueue.nodes c where b.name = 'b' and c.name = 'c'",
    "D19b": "insert into pgqueue.unresolved (node_id) values (99)",
}
