"""The names that OpenTelemetry's conventions for messaging systems define, and pgqueue's own names beside them."""

from __future__ import annotations

VERSION = "1.44.0"  # of the conventions
SCHEMA = f"https://opentelemetry.io/schemas/{VERSION}"

SYSTEM, OUR_SYSTEM = "messaging.system", "pgqueue"
OPERATION, OPERATION_TYPE = "messaging.operation.name", "messaging.operation.type"
DESTINATION = "messaging.destination.name"
MESSAGE_ID, CONVERSATION_ID = "messaging.message.id", "messaging.message.conversation_id"
BATCH_COUNT, CLIENT_ID = "messaging.batch.message_count", "messaging.client.id"
SERVER_ADDRESS, SERVER_PORT = "server.address", "server.port"
ERROR_TYPE = "error.type"

TASK, ATTEMPT, MAX_ATTEMPTS = "pgqueue.task.name", "pgqueue.job.attempt", "pgqueue.job.max_attempts"
WORKER_VERSION = "pgqueue.worker.version"
