"""The settings with which the suites run."""

from __future__ import annotations

import os

from psycopg.conninfo import conninfo_to_dict

PACKAGE = os.environ["SUITE_PACKAGE"]
known = conninfo_to_dict(os.environ["SUITE_DSN"])
SECRET_KEY = "tests"
USE_TZ = True
ROOT_URLCONF = "tests.urls" if PACKAGE == "django_tasks" else "of_pgqueue.no_urls"
INSTALLED_APPS = [
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.messages",
    "django.contrib.sessions",
    "pgqueue.integrations.django",
    *(["django_tasks"] if PACKAGE == "django_tasks" else []),
]
MIDDLEWARE = [
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
]
DATABASES = {
    "default": {
        "ENGINE": "django.db.backends.postgresql",
        "NAME": known["dbname"],
        "USER": known.get("user", ""),
        "PASSWORD": known.get("password", ""),
        "HOST": known.get("host", ""),
        "PORT": known.get("port", ""),
        "TEST": {"NAME": f"{known['dbname']}_test"},
    }
}
PGQUEUE = {"IMPORTS": ["tests.tasks" if PACKAGE == "django_tasks" else "tasks.tasks"]}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ]
        },
    }
]
