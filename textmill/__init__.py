"""Textmill's client: submit bulk text-processing jobs, follow them, read their results.

from textmill import Client

with Client("http://localhost:8000", api_key="...") as mill:
    job = mill.submit("translation", open("reports.txt"), target_lang="pt")
    job.wait(progress=True)
    for result in job.results():
        print(result.id, result.output.translation_text)
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from textmill.client import AsyncClient, AsyncJob, Client, Job

__all__ = ["AsyncClient", "AsyncJob", "Client", "Job"]


def __getattr__(name: str) -> Any:
    # The servers import textmill.wire, and `textmill --help` wants to be quick: neither pays for httpx.
    if name in __all__:
        from textmill import client

        return getattr(client, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
