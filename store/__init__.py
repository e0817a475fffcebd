"""Durable state, and its hand-off to the workers."""
