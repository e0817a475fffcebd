"""The device process: Celery tasks around one engine thread per device."""
