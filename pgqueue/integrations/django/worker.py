"""What a worker of a Django project loads: ``app``, with all tasks that the project declares. ``manage.py pgq work`` names this module.

``pgq work -A pgqueue.integrations.django.worker`` does the same, with DJANGO_SETTINGS_MODULE set.
"""

from __future__ import annotations

import django
from django.apps import apps

from pgqueue.integrations.django import conf
from pgqueue.integrations.django.application import DjangoApp
from pgqueue.integrations.django.discovery import project_app
from pgqueue.runtime import origin

if not apps.ready:  # a child process, or `pgq work`
    django.setup()

app = project_app()
if isinstance(app, DjangoApp) and origin.handed.dsn is None:
    origin.handed.dsn = (
        conf.dsn()
    )  # so that `pgq work -A` uses the database of the project, unless --dsn names another
