"""The App of a Django project that makes none itself: ``from pgqueue.integrations.django import app``."""

from __future__ import annotations

from pgqueue.integrations.django import conf
from pgqueue.integrations.django.application import DjangoApp

app = DjangoApp(name=conf.service())
