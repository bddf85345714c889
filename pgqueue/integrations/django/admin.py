"""The admin of the queue: it shows what the web page shows, with secrets masked, and acts under Django's permissions.

``view`` reads. ``change`` on jobs allows to retry, cancel and run them now, and ``delete`` to delete them. ``change`` on queues, schedules and
workflows allows their actions. Rows are never edited by hand.
"""

from __future__ import annotations

import json
from typing import Any

import psycopg
from django.contrib import admin, messages
from django.utils.html import format_html

from pgqueue.database import statements
from pgqueue.database.run import run
from pgqueue.errors import PgQueueError
from pgqueue.integrations.django import acting, conf, models
from pgqueue.model.job import STATES
from pgqueue.text.shown import visible

# What is not loaded for lists: documents, keys and errors can be large, and can have secrets.
HIDDEN = (
    "args", "meta", "result", "progress", "trace_context", "last_error", "last_traceback", "unique_key", "concurrency_key", "tags",
)  # fmt: skip


class ReadOnlyAdmin(admin.ModelAdmin):
    """Shows rows. Only its actions change something."""

    list_per_page = 50
    show_full_result_count = False
    hidden: tuple[str, ...] = ()

    def has_add_permission(self, request: Any) -> bool:  # noqa: ARG002
        return False

    def has_delete_permission(self, request: Any, obj: Any = None) -> bool:  # noqa: ARG002
        return False

    def get_readonly_fields(self, request: Any, obj: Any = None) -> list[str]:
        return list(self.get_fields(request, obj))

    def get_fields(self, request: Any, obj: Any = None) -> list[str]:  # noqa: ARG002
        return [one.name for one in self.model._meta.fields if one.name not in self.hidden]  # noqa: SLF001

    def get_queryset(self, request: Any) -> Any:
        return super().get_queryset(request).defer(*self.hidden)

    def change_view(self, request: Any, object_id: str, form_url: str = "", extra_context: Any = None) -> Any:
        only_shown = {"show_save": False, "show_save_and_continue": False, "show_save_and_add_another": False}
        return super().change_view(request, object_id, form_url, {**only_shown, **(extra_context or {})})

    def save_model(self, request: Any, obj: Any, form: Any, change: Any) -> None:
        """Nothing is saved: all fields are only shown."""

    def log_change(self, request: Any, obj: Any, message: Any) -> Any:
        """Pgqueue's audit has what was done."""

    def settings_action(self, request: Any, word: str, field: str, values: list[object], noun: str) -> None:
        done, failures = acting.act_on_settings(word, field, values, acting.actor_of(request.user))
        level = messages.WARNING if failures else messages.SUCCESS
        self.message_user(request, acting.said(done, noun, "; ".join(failures)), level)


@admin.register(models.Job)
class JobAdmin(ReadOnlyAdmin):
    hidden = HIDDEN
    list_display = (
        "id",
        "task",
        "queue",
        "state",
        "attempt",
        "priority",
        "run_at",
        "created_at",
        "finished_at",
    )
    search_fields = ("=id", "task", "queue")
    search_help_text = "An id, or a part of a task or of a queue"
    actions = ("retry", "cancel", "run_now", "delete_jobs")

    def get_list_filter(self, request: Any) -> Any:  # noqa: ARG002
        return (StateFilter, QueueFilter, "created_at")

    def get_fields(self, request: Any, obj: Any = None) -> list[str]:
        return [*super().get_fields(request, obj), "arguments", "result_shown", "meta_shown", "error", "why"]

    def get_search_results(self, request: Any, queryset: Any, search_term: str) -> Any:
        if search_term.isascii() and search_term.isdecimal() and len(search_term) < 19:
            return queryset.filter(id=int(search_term)), False
        return super().get_search_results(request, queryset, search_term)

    # ---------------------------------------------------------------- one job, masked as on the web page

    @admin.display(description="arguments")
    def arguments(self, row: Any) -> str:
        return _shown(_masked(row.pk), "args")

    @admin.display(description="result")
    def result_shown(self, row: Any) -> str:
        return _shown(_masked(row.pk), "result")

    @admin.display(description="meta")
    def meta_shown(self, row: Any) -> str:
        return _shown(_masked(row.pk), "meta")

    @admin.display(description="error")
    def error(self, row: Any) -> str:
        job = _masked(row.pk)
        return _pre((job and (job.last_traceback or job.last_error)) or "")

    @admin.display(description="why it is not running")
    def why(self, row: Any) -> str:
        said = run(conf.connection(), statements.why_shown(row.pk))
        return visible(f"{said.sentence} {said.do or ''}".strip())

    # ---------------------------------------------------------------- actions

    @admin.action(description="Retry the selected jobs", permissions=["change"])
    def retry(self, request: Any, chosen: Any) -> None:
        self._act(request, chosen, "retry")

    @admin.action(description="Cancel the selected jobs", permissions=["change"])
    def cancel(self, request: Any, chosen: Any) -> None:
        self._act(request, chosen, "cancel")

    @admin.action(description="Run the selected jobs now", permissions=["change"])
    def run_now(self, request: Any, chosen: Any) -> None:
        self._act(request, chosen, "run_now")

    @admin.action(description="Delete the selected jobs", permissions=["delete_jobs"])
    def delete_jobs(self, request: Any, chosen: Any) -> None:
        self._act(request, chosen, "delete")

    def has_delete_jobs_permission(self, request: Any) -> bool:
        return bool(request.user.has_perm("pgqueue.delete_job"))

    def _act(self, request: Any, chosen: Any, name: Any) -> None:
        ids = list(chosen.order_by().values_list("id", flat=True))
        try:
            done, refused = acting.act_on_jobs(name, ids, acting.actor_of(request.user))
        except (PgQueueError, psycopg.Error) as error:
            self.message_user(request, visible(str(error)), messages.ERROR)
            return
        level = messages.WARNING if refused else messages.SUCCESS
        self.message_user(request, visible(acting.said(done, "job", refused)), level)


class StateFilter(admin.SimpleListFilter):
    title, parameter_name = "state", "state"

    def lookups(self, request: Any, model_admin: Any) -> list[tuple[str, str]]:  # noqa: ARG002
        return [(state, state) for state in STATES]

    def queryset(self, request: Any, queryset: Any) -> Any:  # noqa: ARG002
        return queryset.filter(state=self.value()) if self.value() else queryset


class QueueFilter(admin.SimpleListFilter):
    """Lists the rows of the table of queues, because to read the queues of all jobs would take long."""

    title, parameter_name = "queue", "queue"

    def lookups(self, request: Any, model_admin: Any) -> list[tuple[str, str]]:  # noqa: ARG002
        return [(name, name) for name in models.Queue.objects.values_list("name", flat=True)[:100]]

    def queryset(self, request: Any, queryset: Any) -> Any:  # noqa: ARG002
        return queryset.filter(queue=self.value()) if self.value() else queryset


@admin.register(models.Queue)
class QueueAdmin(ReadOnlyAdmin):
    list_display = ("name", "paused", "retention", "max_age", "created_at")
    list_filter = ("paused",)
    search_fields = ("name",)
    actions = ("pause", "resume")

    @admin.action(description="Pause the selected queues", permissions=["change"])
    def pause(self, request: Any, chosen: Any) -> None:
        self.settings_action(request, "pause", "queue", list(chosen.values_list("name", flat=True)), "queue")

    @admin.action(description="Resume the selected queues", permissions=["change"])
    def resume(self, request: Any, chosen: Any) -> None:
        self.settings_action(request, "resume", "queue", list(chosen.values_list("name", flat=True)), "queue")


@admin.register(models.Schedule)
class ScheduleAdmin(ReadOnlyAdmin):
    hidden = ("args", "options", "digest")
    list_display = ("name", "task", "cron", "every", "tz", "paused", "next_at", "problem")
    list_filter = ("paused",)
    search_fields = ("name", "task")
    actions = ("run_now", "pause", "resume")

    @admin.action(description="Run the selected schedules now", permissions=["change"])
    def run_now(self, request: Any, chosen: Any) -> None:
        self._act(request, "run_schedule", chosen)

    @admin.action(description="Pause the selected schedules", permissions=["change"])
    def pause(self, request: Any, chosen: Any) -> None:
        self._act(request, "pause_schedule", chosen)

    @admin.action(description="Resume the selected schedules", permissions=["change"])
    def resume(self, request: Any, chosen: Any) -> None:
        self._act(request, "resume_schedule", chosen)

    def _act(self, request: Any, word: str, chosen: Any) -> None:
        self.settings_action(
            request, word, "schedule", list(chosen.values_list("name", flat=True)), "schedule"
        )


@admin.register(models.Workflow)
class WorkflowAdmin(ReadOnlyAdmin):
    hidden = ("meta", "follow_ups", "key")
    list_display = ("id", "name", "kind", "created_at", "ended_at", "stop_reason")
    search_fields = ("=id", "name")
    actions = ("retry", "cancel")

    @admin.action(description="Retry the selected workflows", permissions=["change"])
    def retry(self, request: Any, chosen: Any) -> None:
        self._act(request, "retry_workflow", chosen)

    @admin.action(description="Cancel the selected workflows", permissions=["change"])
    def cancel(self, request: Any, chosen: Any) -> None:
        self._act(request, "cancel_workflow", chosen)

    def _act(self, request: Any, word: str, chosen: Any) -> None:
        self.settings_action(request, word, "workflow", list(chosen.values_list("id", flat=True)), "workflow")


@admin.register(models.Worker)
class WorkerAdmin(ReadOnlyAdmin):
    list_display = ("id", "host", "pid", "state", "slots", "queues", "heartbeat_at", "version")
    list_filter = ("state",)
    search_fields = ("host",)


@admin.register(models.Limit)
class LimitAdmin(ReadOnlyAdmin):
    list_display = ("id", "queue", "task", "concurrency", "rate", "period", "per_key")
    hidden = ("key",)


@admin.register(models.Alert)
class AlertAdmin(ReadOnlyAdmin):
    list_display = ("id", "kind", "subject", "count", "first_at", "last_at", "resolved_at")
    list_filter = ("kind",)
    hidden = ("text",)


@admin.register(models.Action)
class ActionAdmin(ReadOnlyAdmin):
    list_display = ("id", "at", "actor", "source", "action", "changed")
    list_filter = ("source",)
    search_fields = ("actor", "action")
    hidden = ("before", "after", "refused", "job_ids", "about")


def _masked(job_id: int) -> Any:
    return run(conf.connection(), statements.get_job(job_id))


def _shown(job: Any, name: str) -> str:
    value = getattr(job, name, None)
    return "" if value in (None, {}) else _pre(json.dumps(value, indent=2, ensure_ascii=False, default=str))


def _pre(text: str) -> str:
    return str(format_html("<pre>{}</pre>", visible(text, lines=True)))
