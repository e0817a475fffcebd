"""OpenAI's files and batches, with OpenAI's own client, on both databases: the real api, a real worker where results
count."""

import json
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import openai
import pytest
import sqlalchemy as sa

from store import files, jobs, orders, sweep
from store.dispatcher import Dispatcher
from store.queue import celery_app
from store.session import Store, db_time
from store.sweep import Sweeper, purge
from store.tables import documents, file_chunks, order_jobs, order_lines, results
from store.tables import files as files_table
from store.tables import jobs as jobs_table
from store.tables import orders as orders_table
from tests.integration.interleaving import Contender, row_locks
from tests.integration.openai_files import (
    PATIENCE,
    begin,
    client_of,
    counts,
    line,
    new_order,
    ordered,
    read,
    rows,
    stored,
    texts,
    until,
    upload,
)
from tests.integration.serving import Running, serving, work
from tests.worker_process import running, wait_until
from textmill.errors import JobNotFound

MakeStore = Callable[..., Store]
GOOD = line("good", {"input": "a good text"})


@pytest.fixture
def api(store: Store) -> Iterator[Running]:
    with serving(store) as started:
        yield started


@pytest.fixture
def client(api: Running) -> Iterator[openai.OpenAI]:
    with client_of(api) as made:
        yield made


# --- the whole way ----------------------------------------------------------------------------------------------------


def test_from_a_file_to_answers_and_away_again(api: Running, client: openai.OpenAI, tmp_path: Path) -> None:
    """Real api, real worker, on both databases."""
    lines: list[str] = [
        *texts(30),
        line("shorter", {"input": "a text of its own", "max_length": 20}),
        line("", {"input": "no id"}),
        "{not json",
        line("r3", {"input": "the same id again"}),
        line("other", {"input": "x"}, url="/v1/translation"),
    ]
    with running(api.store, tmp_path):
        batch = begin(client, lines, metadata={"of": "november"})
        assert (batch.status, batch.metadata) == ("validating", {"of": "november"})
        ended = until(client, batch)
    assert (ended.status, counts(ended)) == ("completed", (35, 31, 4))
    assert ended.in_progress_at is not None
    assert ended.finalizing_at is not None
    assert ended.completed_at is not None

    output = read(client, ended.output_file_id)
    assert set(output) == {*(f"r{number}" for number in range(30)), "shorter"}
    body = output["r7"]["response"]["body"]
    assert (output["r7"]["response"]["status_code"], output["r7"]["error"]) == (200, None)
    assert (body["model"], body["output"]) == ("echo", {"summary_text": "text 7"})

    content = client.files.content(ended.error_file_id).text.splitlines()
    refused = {one["line"]: (one["custom_id"], one["error"]["code"]) for one in map(json.loads, content)}
    assert refused == {
        32: ("", "invalid_request"), 33: (None, "invalid_request"), 34: ("r3", "duplicate_document_id"),
        35: ("other", "invalid_request"),
    }  # fmt: skip
    assert {json.loads(one)["response"]["status_code"] for one in content} == {400}

    with api.http() as http:
        made = http.get("/v1/jobs", params={"metadata.batch": batch.id}).json()["jobs"]
        assert sorted((job["counts"]["total"], job["options"].get("max_length")) for job in made) == [
            (1, 20),
            (30, None),
        ]

    for file_id in (ended.output_file_id, ended.error_file_id, ended.input_file_id):
        assert client.files.delete(file_id).deleted
        with pytest.raises(openai.NotFoundError):
            client.files.retrieve(file_id)
    while any(api.store.write(step) for step in (files.purge, purge)):
        pass
    assert rows(api.store, documents, results, file_chunks, files_table, jobs_table) == [0] * 5
    assert counts(client.batches.retrieve(batch.id)) == (35, 31, 4)


# --- lists, cancelling, time ------------------------------------------------------------------------------------------


def test_lists_go_through_all_pages(api: Running, client: openai.OpenAI) -> None:
    made = [upload(client, [GOOD], name=f"{number}.jsonl").id for number in range(5)]
    assert [file.id for file in client.files.list(limit=2)] == made[::-1]
    assert [file.id for file in client.files.list(limit=2, order="asc")] == made
    page = client.files.list(limit=2, after=made[2])
    assert ([file.id for file in page.data], page.has_more) == (made[1::-1], False)
    assert list(client.files.list(purpose="batch_output")) == []
    with pytest.raises(openai.BadRequestError) as caught:
        client.files.list(after="file-" + "0" * 32)
    assert caught.value.code == "invalid_cursor"
    begun = [
        client.batches.create(input_file_id=made[0], endpoint="/v1/summarization", completion_window="24h").id
        for _ in range(5)
    ]
    assert [batch.id for batch in client.batches.list(limit=2)] == begun[::-1]
    assert client.batches.list(limit=2).has_more
    for batch in begun:
        until(client, client.batches.retrieve(batch), meanwhile=lambda: work(api.store))
    assert len(list(client.files.list(purpose="batch_output", limit=2))) == 5


def test_a_cancelled_batch_keeps_what_was_done(make_store: MakeStore) -> None:
    store = make_store(first_shard_characters=200, unserved_shards=2)
    with serving(store) as api, client_of(api) as client:
        batch = until(client, begin(client, texts(100)), ["in_progress"])
        wait_until(lambda: work(store, most=1) == 1, "a shard is done", PATIENCE)
        wait_until(lambda: rows(store, documents) == [100], "all lines are documents", PATIENCE)
        done = rows(store, results)[0]
        assert 0 < done < 100
        assert client.batches.cancel(batch.id).status in ("cancelling", "cancelled")
        ended = until(client, batch)
        assert (ended.status, counts(ended)) == ("cancelled", (100, done, 0))
        assert ended.cancelled_at is not None
        assert len(read(client, ended.output_file_id)) == done
        not_run = read(client, ended.error_file_id)
        assert {one["error"]["code"] for one in not_run.values()} == {"batch_cancelled"}
        assert len(not_run) == 100 - done
        assert client.batches.cancel(batch.id).status == "cancelled"
        other = until(client, begin(client, [GOOD]), meanwhile=lambda: work(store))
        with pytest.raises(openai.ConflictError) as caught:
            client.batches.cancel(other.id)
        assert caught.value.code == "batch_ended"


def test_a_files_time_begins_when_it_is_made(store: Store, key_id: int) -> None:
    file = stored(store, key_id, [GOOD])
    assert file.expires_at == file.created_at + timedelta(seconds=3600)


def test_files_end_after_their_time_and_a_batchs_jobs_with_them(api: Running, client: openai.OpenAI) -> None:
    store = api.store
    kept: Any = {"anchor": "created_at", "seconds": 3600}
    file = client.files.create(file=("in.jsonl", GOOD.encode()), purpose="batch", expires_after=kept)
    assert file.expires_at == file.created_at + 3600
    batch = client.batches.create(
        input_file_id=file.id, endpoint="/v1/summarization", completion_window="24h", output_expires_after=kept
    )
    ended = until(client, batch, meanwhile=lambda: work(store))
    output = client.files.retrieve(ended.output_file_id)
    assert output.expires_at == output.created_at + 3600
    assert rows(store, results, documents) == [1, 1]
    assert store.write(files.expire) is False
    assert len(list(client.files.list())) == 2
    store.write(lambda tx: tx.execute(sa.update(files_table).values(expires_at=db_time(-1))))
    assert Sweeper(store, Dispatcher(celery_app(store.settings.redis_url))).sweep()
    assert list(client.files.list()) == []
    with pytest.raises(openai.NotFoundError):
        client.files.content(output.id)
    assert rows(store, results, documents, file_chunks, jobs_table) == [0] * 4


def test_the_retention_removes_batches_too(make_store: MakeStore) -> None:
    store = make_store(retention_seconds=3600)
    with serving(store) as api, client_of(api) as client:
        batch = until(client, begin(client, [GOOD, "{"]), meanwhile=lambda: work(store))
        assert store.write(orders.retire) is False
        store.write(lambda tx: tx.execute(sa.update(jobs_table).values(finished_at=db_time(-4000))))
        store.write(sweep.retire)
        assert "a good text" in str(read(client, batch.output_file_id)), "its jobs are kept as long as the batch"
        store.write(lambda tx: tx.execute(sa.update(orders_table).values(ended_at=db_time(-4000))))
        while any(store.write(step) for step in (orders.retire, files.purge, purge)):
            pass
        with pytest.raises(openai.NotFoundError) as caught:
            client.batches.retrieve(batch.id)
        assert caught.value.code == "batch_not_found"
        assert [file.filename for file in client.files.list()] == ["in.jsonl"]
    assert rows(store, orders_table, order_jobs, order_lines, results, jobs_table) == [0] * 5


def test_a_file_is_not_deleted_while_a_batch_reads_it(store: Store, key_id: int) -> None:
    file = stored(store, key_id, [GOOD])
    order = ordered(store, key_id, file)
    with pytest.raises(files.FileInUse):
        store.write(files.delete, key_id, file.uuid)
    store.write(lambda tx: tx.execute(sa.update(files_table).values(expires_at=db_time(-1))))
    store.write(files.expire)
    assert store.read(files.get, key_id, file.uuid) == file._replace(
        expires_at=store.read(files.get, key_id, file.uuid).expires_at
    )
    store.write(orders.cancel, key_id, order.uuid)
    store.write(files.delete, key_id, file.uuid)


def test_a_job_that_has_the_number_of_a_removed_one_is_not_the_batchs(store: Store, key_id: int) -> None:
    """SQLite gives the highest number again when its row is gone; here the rows of any database are made to be so."""
    order = ordered(store, key_id, stored(store, key_id, [GOOD]))
    group = orders.Group(0, "digest", "summarization", "echo", "{}", "{}")
    claimed = store.write(orders.claim, 60)
    assert claimed is not None
    store.write(orders.validated, claimed, 1, 1, [], [group])
    claimed = store.write(orders.claim, 60)
    assert claimed is not None
    store.write(orders.add_jobs, claimed, {0: jobs.NewJob(key_id, "summarization", "echo")})
    other = store.write(jobs.submit, jobs.NewJob(key_id, "summarization", "echo"), [(None, "mine")]).job.id

    def reuse(tx: sa.Connection) -> None:
        tx.execute(sa.delete(jobs_table).where(jobs_table.c.uuid != other))
        number = tx.execute(sa.select(jobs_table.c.id)).scalar_one()
        tx.execute(sa.update(order_jobs).values(job_id=number))

    store.write(reuse)
    work(store)
    assert store.read(jobs.get, key_id, other).state == "completed"
    assert store.read(orders.job_states, order.id) == [None]
    assert store.read(orders.get, key_id, order.uuid).succeeded == 0
    store.write(files.let_go, [order.id])
    assert store.read(jobs.get, key_id, other).state == "completed"


def test_of_a_batch_and_the_end_of_its_file_the_first_one_wins(
    make_store: MakeStore, store: Store, key_id: int
) -> None:
    deleted, read_ = stored(store, key_id, [GOOD]), stored(store, key_id, [GOOD])
    with store.engine.begin() as tx:
        files.delete(tx, key_id, deleted.uuid)
        late = Contender(make_store(), lambda tx: orders.create(tx, new_order(key_id, deleted)))
    with pytest.raises(files.FileNotFound):
        late.result()
    with store.engine.begin() as tx:
        orders.create(tx, new_order(key_id, read_))
        late = Contender(make_store(), files.delete, key_id, read_.uuid)
    with pytest.raises(files.FileInUse):
        late.result()
    assert rows(store, orders_table) == [1]
    store.write(lambda tx: tx.execute(sa.update(orders_table).values(fed=True)))
    store.write(lambda tx: tx.execute(sa.update(files_table).values(expires_at=db_time(-1))))
    with pytest.raises(files.FileNotFound):
        ordered(store, key_id, read_)


@row_locks
def test_two_that_delete_the_last_two_files_delete_the_jobs(make_store: MakeStore, store: Store, key_id: int) -> None:
    order = ordered(store, key_id, stored(store, key_id, [GOOD]))
    job = store.write(jobs.submit, jobs.NewJob(key_id, "summarization", "echo"), [(None, "a text")]).job.id
    work(store)
    group = {"number": 0, "digest": "d", "task": "summarization", "model": "echo", "options": "{}", "form": "{}"}
    link = sa.insert(order_jobs).values(order_id=order.id, job_uuid=job, **group)
    store.write(lambda tx: tx.execute(link))
    made = [stored(store, key_id, [GOOD]) for _ in range(2)]
    both = sa.update(files_table).where(files_table.c.id.in_([file.id for file in made])).values(order_id=order.id)
    store.write(lambda tx: tx.execute(both))
    with store.engine.begin() as tx:
        files.delete(tx, key_id, made[0].uuid)
        late = Contender(make_store(), files.delete, key_id, made[1].uuid)
    late.result()
    with pytest.raises(JobNotFound):
        store.read(jobs.get, key_id, job)
