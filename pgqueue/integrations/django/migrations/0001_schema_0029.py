"""The schema 0029, and the models that read it."""

from __future__ import annotations

from django.db import migrations

from pgqueue.integrations.django.operations import CurrentModels, UpgradeSchema


class Migration(migrations.Migration):
    atomic = False  # the upgrade has a connection and a transaction of its own, and waits for locks
    operations = (UpgradeSchema("0029"), CurrentModels())
