"""How fast a job went: what its buckets say, on both databases, and that a large job is sampled."""

from datetime import UTC, datetime, timedelta

import pytest

from store import jobs, leases, pace
from store.session import Store
from tests.integration.ledger_steps import claim, job_row, new_key, outcomes, stretch, submit
from textmill.errors import JobNotFound
from textmill.wire import Job

START = datetime(2026, 1, 1, tzinfo=UTC)


def went(store: Store, key_id: int, count: int, seconds: float) -> Job:
    """A job that took so long, with its documents decided evenly over the time."""
    job, released = submit(store, key_id, count)
    while released:
        lease = claim(store, released[0].shard_id)
        settled = store.write(leases.settle, lease, outcomes(range(lease.first, lease.last + 1), [lease.first]), True)
        released = released[1:] + settled.released
    stretch(store, job.id, seconds)
    return job


def test_each_outcome_is_in_the_bucket_of_its_time(store: Store, key_id: int) -> None:
    job = went(store, key_id, 80, 40)
    found = store.read(pace.look, key_id, job.id)
    assert (found.bucket_seconds, found.exact) == (1, True)
    assert len(found.buckets) in (40, 41), "the database's own times are rounded to a millisecond"
    whole = found.buckets[:40]
    assert sum(bucket.documents_per_second for bucket in whole) == pytest.approx(80, abs=2)
    assert {bucket.documents_per_second for bucket in whole} <= {1, 2, 3}
    assert [b.start - found.buckets[0].start for b in whole] == [timedelta(seconds=n) for n in range(40)]


def test_a_large_job_is_sampled(store: Store, key_id: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pace, "SAMPLE", 50)
    job = went(store, key_id, 1_200, 600)
    found = store.read(pace.look, key_id, job.id)
    assert (found.bucket_seconds, found.exact) == (16, False)
    assert len(found.buckets) in (38, 39)
    assert sum(16 * bucket.documents_per_second for bucket in found.buckets[:38]) == pytest.approx(1_200, rel=0.1)


def test_a_retry_is_a_start_anew(store: Store, key_id: int) -> None:
    job = went(store, key_id, 20, 10)
    released = store.write(jobs.retry, key_id, job.id, None).released
    assert store.read(pace.look, key_id, job.id).buckets == [], "nobody has claimed anything yet"
    lease = claim(store, released[0].shard_id)
    store.write(leases.settle, lease, outcomes([0]), True)
    found = store.read(pace.look, key_id, job.id).buckets
    assert found[0].start == job_row(store, job)["started_at"]
    assert len([bucket for bucket in found if bucket.documents_per_second]) == 1, "one document, at one moment"


def test_a_job_that_has_not_begun_and_one_of_another_key(store: Store, key_id: int) -> None:
    job, released = submit(store, key_id, 3)
    assert store.read(pace.look, key_id, job.id).buckets == []
    claim(store, released[0].shard_id)
    assert {bucket.documents_per_second for bucket in store.read(pace.look, key_id, job.id).buckets} == {0}
    with pytest.raises(JobNotFound):
        store.read(pace.look, new_key(store, "other"), job.id)


@pytest.mark.parametrize(
    ("seconds", "width", "times", "each", "rates"),
    [
        (4, 1, [0, 0.5, 1, 4], 1, [2, 1, 0, 1]),  # what is decided at the very end is in the last bucket
        (2.5, 1, [2.4], 3, [0, 0, 3]),  # a rest shorter than a second is taken for one
        (6, 4, [1, 5, 5], 1, [0.25, 1]),
        (0.5, 1, [0.5], 1, [2]),  # a job shorter than a second has its own length
        (0, 1, [0], 1, [1000]),
        (3, 1, [-1, 9], 1, [0, 0, 0]),  # of another run
    ],
)  # fmt: skip
def test_buckets(seconds: float, width: int, times: list[float], each: float, rates: list[float]) -> None:
    moments = [START + timedelta(seconds=time) for time in times]
    found = pace.buckets(START, START + timedelta(seconds=seconds), width, moments, each)
    assert [bucket.documents_per_second for bucket in found] == rates


@pytest.mark.parametrize(("seconds", "width"), [(0, 1), (60, 1), (60.1, 2), (120, 2), (3600, 64), (10**6, 32_768)])
def test_the_buckets_are_few(seconds: float, width: int) -> None:
    assert pace.width_of(seconds) == width
