"""Measurements: one module a question. RESULTS.md keeps what was found, the failures included."""
