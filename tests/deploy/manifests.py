"""What Kubernetes' schemas, and what pgqueue needs, say of the manifests; and the same for the compose file and the workflow.

The schemas are those of the oldest and of the newest version of Kubernetes that are checked. KEDA's objects have schemas of their own, which
are not at hand. So only the names of their fields are compared with those of KEDA's documentation, and their SQL is run by a test.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import kubernetes_validate
import yaml

from tests.deploy.files import COMPOSE, DOCKERFILE, WORKFLOW, containers, instructions, options_of, resources

OLDEST = "1.31"
PROBES = {"startupProbe": "/startupz", "livenessProbe": "/livez", "readinessProbe": "/readyz"}
KEDA_FIELDS = {
    "ScaledObject": {"scaleTargetRef", "pollingInterval", "cooldownPeriod", "minReplicaCount", "maxReplicaCount", "triggers"},
    "TriggerAuthentication": {"secretTargetRef"},
}  # fmt: skip
KEDA_POSTGRESQL = {"query", "targetQueryValue", "activationTargetQueryValue"}


def complaints() -> list[str]:
    found: list[str] = []
    for name, resource in resources():
        found += [f"{name}: {complaint}" for complaint in _of_schema(resource)]
        found += [f"{name}: {complaint}" for complaint in _of_pod(resource)]
    return [*found, *_of_compose(), *_of_workflow(), *_of_dockerfile()]


def _of_schema(resource: dict[str, Any]) -> Iterator[str]:
    if resource["apiVersion"].startswith("keda.sh/"):
        yield from (
            f"KEDA has no field {name}" for name in set(resource["spec"]) - KEDA_FIELDS[resource["kind"]]
        )
        for trigger in resource["spec"].get("triggers", []):
            yield from (
                f"KEDA's postgresql has no {name}" for name in set(trigger["metadata"]) - KEDA_POSTGRESQL
            )
        return
    for version in (OLDEST, kubernetes_validate.latest_version()):
        try:
            kubernetes_validate.validate(resource, version, strict=True)
        except kubernetes_validate.ValidationError as error:
            yield f"Kubernetes {version}: {error.message}"


def _of_pod(resource: dict[str, Any]) -> Iterator[str]:
    keys = {key for _, each in resources() if each["kind"] == "Secret" for key in each["stringData"]}
    for container in containers(resource):
        for variable in container["env"]:
            if variable["valueFrom"]["secretKeyRef"]["key"] not in keys:
                yield f"secret.yaml has no key for {variable['name']}"
        if not container["securityContext"]["readOnlyRootFilesystem"]:
            yield "the container can change its own files"
        options = options_of(container["command"])
        pod = resource["spec"]["template"]["spec"]
        if "grace" not in options:
            continue
        if pod["terminationGracePeriodSeconds"] <= options["grace"]:
            yield "terminationGracePeriodSeconds is not longer than --grace"
        started = container["startupProbe"]
        if started["periodSeconds"] * started["failureThreshold"] <= options["wait_for_db"]:
            yield "the startup probe gives up before --wait-for-db"
        ports = {port["name"]: port["containerPort"] for port in container["ports"]}
        for probe, path in PROBES.items():
            asked = container[probe]["httpGet"]
            if (asked["path"], ports[asked["port"]]) != (path, options["health_port"]):
                yield f"{probe} asks {asked}"


def _of_compose() -> Iterator[str]:
    services = yaml.safe_load(COMPOSE.read_text(encoding="utf-8"))["services"]
    for name, service in services.items():
        yield from (
            f"{name} depends on no service"
            for other in service.get("depends_on", {})
            if other not in services
        )
    worker = services["worker"]
    if int(worker["stop_grace_period"].removesuffix("s")) <= options_of(worker["command"])["grace"]:
        yield "compose.yaml: stop_grace_period is not longer than --grace"


def _of_workflow() -> Iterator[str]:
    workflow = yaml.safe_load(WORKFLOW.read_text(encoding="utf-8"))
    for step in workflow["jobs"]["tests"]["steps"]:
        if ("run" in step) == ("uses" in step):
            yield f"{WORKFLOW.name}: a step has either run or uses: {step}"


def _of_dockerfile() -> Iterator[str]:
    words = [word for word, _ in instructions()]
    for wanted in ("USER", "STOPSIGNAL", "HEALTHCHECK", "CMD"):
        if wanted not in words:
            yield f"{DOCKERFILE.name} has no {wanted}"
    if words.index("USER") > words.index("CMD"):
        yield f"{DOCKERFILE.name} changes the user too late"
