"""Masks secret values in what a replay has found."""

from __future__ import annotations

import json
from dataclasses import replace

from pgqueue.config import secret_names
from pgqueue.model.redaction import MASK, masked_value, redacted, secrets
from pgqueue.model.task import TaskSpec
from pgqueue.worker.attempt import Attempt
from pgqueue.worker.replay.findings import Findings
from pgqueue.worker.secret_values import secret_values


def masked_findings(findings: Findings, spec: TaskSpec, attempt: Attempt) -> Findings:
    """Returns the findings with MASK in the place of each secret value of the job, and of each value under a secret name."""
    names, paths = secret_names(), spec.redaction.result
    values, shown = secret_values(spec, attempt.args), findings.value
    if shown is not None:
        try:
            result = json.loads(shown)
            values |= secrets(result, paths, names)
            shown = json.dumps(redacted(result, paths, names), ensure_ascii=False)
        except (ValueError, RecursionError):
            shown = MASK
    found: Findings = masked_value(replace(findings, value=shown), values, names)
    return found
