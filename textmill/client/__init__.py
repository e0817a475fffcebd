"""Client and AsyncClient: the same methods over the same flows (`textmill/flows.py`), one blocking and one awaiting.

Both keep trying through a restart of the server: connection errors, 429, 502, 503 and 504 are tried again for
`patience` seconds, with growing pauses. Every submit carries an idempotency key, so that no retry makes a second job.
"""

from textmill.client.awaiting import AsyncClient, AsyncJob
from textmill.client.blocking import Client, Job

__all__ = ["AsyncClient", "AsyncJob", "Client", "Job"]
