"""The engine: what waits, what runs next, and for how long. Knows no Celery, no SQL and no framework of models."""
