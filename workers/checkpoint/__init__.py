"""A model's files, as every backend that runs transformers checkpoints reads them."""

import threading

IMPORTING = threading.Lock()
"""Held while transformers, or what imports it, is imported. It imports its parts when their names are first asked for.
Where several threads do that at once, Python breaks the deadlock of their import locks by handing out a module that is
half done, and a name is missing: seen when the first jobs of three models arrived together."""
