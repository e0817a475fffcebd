"""The rules: how a text becomes items and comes back, one file a task."""
