"""Data frames through the real api, and the progress of a job in a real notebook's kernel."""

from collections.abc import Iterator

import anyio
import nbclient
import nbformat
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

from store.session import Store
from tests.integration.serving import Running, echo, serving, work
from tests.integration.test_api_cli import Worker
from textmill import AsyncClient, Client

TIMEOUT = 300


@pytest.fixture(params=["sqlite"])
def backend(request: pytest.FixtureRequest) -> str:
    """SQLite alone: what differs between the databases lies behind the api."""
    return str(request.param)


@pytest.fixture
def api(store: Store) -> Iterator[Running]:
    with serving(store) as running:
        yield running


def test_a_frame_comes_back(api: Running) -> None:
    frame = pd.DataFrame({"body": ["one", "fail", "two"], "n": [1, 2, 3]}, index=[5, 6, 7])
    with Client(api.url, api.secret) as mill, Worker(api.store):
        made = mill.map(frame, "summarization", column="body", model="echo")
        assert isinstance(made, pd.DataFrame)
        assert list(made.index) == [5, 6, 7]
        assert made["summary_text"].fillna("-").tolist() == ["one", "-", "two"]
        assert made["error_code"].fillna("").tolist() == ["", "processing_failed", ""]
        job = next(mill.jobs())
        table = job.to_arrow()
        assert isinstance(table, pa.Table)
        assert table["summary_text"].to_pylist() == ["one", None, "two"]
        assert job.to_pandas()["id"].tolist() == ["0", "1", "2"]


def test_a_frame_comes_back_awaited(api: Running) -> None:
    async def produce() -> None:
        async with AsyncClient(api.url, api.secret) as mill:
            made = await mill.map(pl.DataFrame({"text": ["one"]}), "summarization", model="echo")
            assert made["summary_text"].to_list() == ["one"]
            [job] = [job async for job in mill.jobs()]
            assert (await job.to_arrow()).num_rows == len(await job.to_pandas()) == 1

    with Worker(api.store):
        anyio.run(produce)


def test_progress_is_shown_in_a_notebook(api: Running) -> None:
    """A bar that is redrawn in one place of the cell, and nothing of what a terminal would get."""
    with Client(api.url, api.secret) as mill:
        job = mill.submit("summarization", ["a", "fail"], model="echo")
    work(api.store, outcome=echo)
    cell = f"""
        from textmill import Client
        with Client({api.url!r}, {api.secret!r}) as mill:
            state = mill.job({job.id!r}).wait(progress=True).state
        state
    """
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell.replace("\n        ", "\n").strip())])
    nbclient.NotebookClient(notebook, timeout=TIMEOUT, startup_timeout=TIMEOUT).execute()
    outputs = notebook.cells[0].outputs
    shown = [output for output in outputs if output.output_type == "display_data" and "text/html" in output.data]
    assert len(shown) == 1, outputs
    assert '<progress value="2" max="2">' in shown[0].data["text/html"]
    assert "completed_with_errors: 2/2 documents" in shown[0].data["text/plain"]
    assert "'completed_with_errors'" in outputs[-1].data["text/plain"]
    assert not any("\x1b" in output.get("text", "") for output in outputs)
