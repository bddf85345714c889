"""Says whether a worker process works: over HTTP (``--health-port``), and to systemd.

::

    the parts of the process ── marks ──► VitalSigns ──► Health ──► HealthServer: /livez, /readyz, /startupz, /metrics
                                                        │    └───► Notifier: READY, STATUS, STOPPING, WATCHDOG
                                   HealthThread ────────┘ a thread with a loop of its own: it goes on while a handler blocks the worker's loop
"""
