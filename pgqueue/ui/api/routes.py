"""Declares all routes. Routing, the checks of requests and the OpenAPI document follow from these declarations."""

from __future__ import annotations

from pgqueue.ui.access.who import Role
from pgqueue.ui.api import answers as shapes
from pgqueue.ui.api import enqueuing, events, following, jobs, operations, queues
from pgqueue.ui.api.calls import Outcome, Route
from pgqueue.ui.api.shapes import (
    EnqueuedBatch,
    EnqueuedJob,
    Following,
    Listing,
    SentOperation,
    SentSignal,
    Waiting,
)

LOCATION = {"Location": "Where the job is.", "Retry-After": "Ask for its state after this many seconds."}
ETAG = {"ETag": "Changes when the job changes."}
LATER = {"Retry-After": "Ask again after this many seconds."}

ROUTES: tuple[Route, ...] = (
    Route(
        method="POST",
        path="/jobs",
        name="enqueueJob",
        text="Enqueue a job.",
        run=enqueuing.enqueue,
        body=EnqueuedJob,
        largest=2_000_000,
        headers={
            "Idempotency-Key": "If the key was used before, no job is stored, and the earlier job is returned."
        },
        answers={
            202: Outcome("The job was stored.", shapes.StoredJob, LOCATION),
            200: Outcome(
                "A job with this key was stored before.",
                shapes.StoredJob,
                {**LOCATION, "Idempotency-Replayed": "true, if the key is the Idempotency-Key."},
            ),
        },
        problems=(409,),
    ),
    Route(
        method="POST",
        path="/jobs:batch",
        name="enqueueBatch",
        text="Enqueue many jobs together: all or none.",
        run=enqueuing.enqueue_batch,
        body=EnqueuedBatch,
        largest=16_000_000,
        answers={202: Outcome("The jobs were stored, in this order.", shapes.StoredJobs, LATER)},
        problems=(409,),
    ),
    Route(
        method="GET",
        path="/jobs",
        name="listJobs",
        text="List jobs, the newest first.",
        run=jobs.list_jobs,
        query=Listing,
        answers={200: Outcome("A page of jobs.", shapes.JobPage)},
    ),
    Route(
        method="GET",
        path="/jobs/{id}",
        name="getJob",
        text="Read a job.",
        run=jobs.get_job,
        query=Waiting,
        headers={"If-None-Match": "The ETag of the answer that the client has."},
        answers={
            200: Outcome("The job.", shapes.ShownJob, {**ETAG, **LATER}),
            304: Outcome("The job has not changed.", headers=ETAG),
        },
    ),
    Route(
        method="GET",
        path="/jobs/{id}/result",
        name="getResult",
        text="Read the result of a job.",
        run=jobs.get_result,
        query=Waiting,
        answers={
            200: Outcome("The job is completed.", shapes.EndedJob),
            202: Outcome("The job has not ended.", shapes.EndedJob, LATER),
        },
        problems=(409,),
    ),
    Route(
        method="GET",
        path="/jobs/{id}/why",
        name="explainJob",
        text="Read why a job is not running.",
        run=jobs.why,
        answers={200: Outcome("The reason.", shapes.ShownReason)},
    ),
    Route(
        method="GET",
        path="/jobs/{id}/timeline",
        name="getTimeline",
        text="Read what happened to a job, the oldest first.",
        run=jobs.timeline,
        answers={200: Outcome("The last 1,000 events.", shapes.Timeline)},
    ),
    Route(
        method="GET",
        path="/jobs/{id}/events",
        name="streamEvents",
        text="Follow what happens to a job, as Server-Sent Events.",
        run=events.stream,
        headers={"Last-Event-ID": "The id of the last event that the client has."},
        answers={
            200: Outcome("Events until the job has ended.", media="text/event-stream"),
            204: Outcome("The job has ended, and the client has all its events."),
        },
    ),
    Route(
        method="GET",
        path="/events",
        name="followEvents",
        text="Follow what happens to all jobs, as Server-Sent Events.",
        run=following.stream,
        query=Following,
        headers={"Last-Event-ID": "The id of the last event that the client has."},
        answers={
            200: Outcome(
                "Events without end, each as FollowedEvent.", shapes.FollowedEvent, media="text/event-stream"
            )
        },
    ),
    Route(
        method="POST",
        path="/jobs/{id}/cancel",
        name="cancelJob",
        text="Cancel a job.",
        run=jobs.cancel,
        role=Role.operator,
        answers={
            200: Outcome("The job is cancelled.", shapes.ChangedJob),
            202: Outcome(
                "The job runs, and its worker is asked to stop it.",
                shapes.ChangedJob,
                {"Location": "Where the job is."},
            ),
        },
        problems=(409,),
    ),
    Route(
        method="POST",
        path="/jobs/{id}/retry",
        name="retryJob",
        text="Make a dead or cancelled job pending again.",
        run=jobs.retry,
        role=Role.operator,
        answers={202: Outcome("The job is pending.", shapes.ChangedJob, {"Location": "Where the job is."})},
        problems=(409,),
    ),
    Route(
        method="POST",
        path="/jobs/{id}/signal",
        name="signalJob",
        text="Send a signal to a job.",
        run=jobs.signal,
        role=Role.operator,
        body=SentSignal,
        largest=1_600_000,
        answers={
            202: Outcome("The signal was stored.", shapes.ChangedJob, {"Location": "Where the job is."})
        },
        problems=(409,),
    ),
    Route(
        method="POST",
        path="/operations",
        name="beginOperation",
        text="Cancel or retry many jobs.",
        run=operations.begin,
        role=Role.operator,
        body=SentOperation,
        largest=600_000,
        answers={
            200: Outcome("With dry_run: what the operation would do.", shapes.Preview),
            202: Outcome(
                "The operation has begun.", shapes.ShownOperation, {"Location": "How far it is.", **LATER}
            ),
        },
    ),
    Route(
        method="GET",
        path="/operations/{id}",
        name="getOperation",
        text="Read how far an operation is.",
        run=operations.read,
        role=Role.operator,
        answers={200: Outcome("The operation.", shapes.ShownOperation)},
    ),
    Route(
        method="POST",
        path="/operations/{id}/undo",
        name="undoOperation",
        text="Undo an operation, as far as its jobs have not moved on.",
        run=operations.undo,
        role=Role.operator,
        problems=(409,),
        answers={
            202: Outcome(
                "The undo has begun.", shapes.ShownOperation, {"Location": "How far it is.", **LATER}
            )
        },
    ),
    Route(
        method="GET",
        path="/queues",
        name="listQueues",
        text="List queues with the numbers of their unfinished jobs.",
        run=queues.list_queues,
        answers={200: Outcome("The queues.", shapes.QueuePage)},
    ),
    Route(
        method="GET",
        path="/workers",
        name="listWorkers",
        text="List living workers.",
        run=queues.list_workers,
        answers={200: Outcome("The workers.", shapes.WorkerPage)},
    ),
)
