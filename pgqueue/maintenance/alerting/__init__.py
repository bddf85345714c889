"""Alerts: finds causes of alerts in queues and tasks, and sends messages about them."""
