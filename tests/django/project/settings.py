"""The shop of docs/examples/django_shop, with the Tasks framework and a second database."""

from __future__ import annotations

from shop.settings import *  # noqa: F403
from shop.settings import DATABASES, INSTALLED_APPS

INSTALLED_APPS = [*INSTALLED_APPS, "tests.django.project"]
DATABASES = {**DATABASES, "other": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}}
PGQUEUE = {"IMPORTS": ["tests.django.project.jobs"]}
BACKEND = "pgqueue.integrations.django.BackportBackend"
TASKS = {
    "default": {"BACKEND": BACKEND, "QUEUES": ["default", "mail"]},
    "again": {"BACKEND": BACKEND, "QUEUES": [], "OPTIONS": {"RETRY": [0.0]}},
}
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
