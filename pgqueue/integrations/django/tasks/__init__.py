"""The backend of Django's Tasks framework: ``django.tasks`` of Django 6, and its backport ``django_tasks``."""
