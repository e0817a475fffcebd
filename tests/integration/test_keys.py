"""Keys: roles, limits, rotation, and what operators do with them by HTTP and by command."""

import asyncio
import json
import threading
from collections.abc import Iterator

import httpx
import pytest
import sqlalchemy as sa
from click.testing import CliRunner

from api.keys_command import keys_group
from api.rates import Rates
from store import keys, quota
from store.keys import Limits
from store.session import Store, db_minute, db_time
from store.tables import jobs, key_days
from store.tables import keys as keys_table
from tests.conftest import ValkeyProcess
from tests.integration.serving import Running, serving, work
from textmill.errors import DailyLimitReached, TooManyOpenJobs, Unauthorized


@pytest.fixture
def api(store: Store) -> Iterator[Running]:
    with serving(store) as running:
        yield running


@pytest.fixture
def operator(api: Running) -> Iterator[httpx.Client]:
    with api.http(api.store.write(keys.create, "operations", "operator").secret) as http:
        yield http


def submit(http: httpx.Client, documents: int = 1, **more: object) -> httpx.Response:
    body = {"task": "ner", "model": "echo", "documents": [{"text": f"text {n}"} for n in range(documents)], **more}
    return http.post("/v1/jobs", json=body)


def refused(answer: httpx.Response, status: int, code: str) -> None:
    assert (answer.status_code, answer.json()["code"]) == (status, code), answer.text


def count(store: Store, table: sa.Table) -> int:
    found: int = store.read(lambda tx: tx.execute(sa.select(sa.func.count()).select_from(table)).scalar_one())
    return found


def limited(store: Store, **limits: int) -> str:
    return store.write(keys.create, "limited", "producer", Limits(**limits)).secret


# --- roles ------------------------------------------------------------------------------------------------------------


def test_a_reader_sees_and_changes_nothing(api: Running) -> None:
    made = api.store.write(keys.create, "both")
    with api.http(made.secret) as http:
        job = submit(http, open=True).json()["id"]
        api.store.write(keys.change, made.id, {"role": "reader"})
        assert http.get(f"/v1/jobs/{job}").json()["counts"]["total"] == 1
        assert [row["id"] for row in http.get("/v1/jobs").json()["jobs"]] == [job]
        refused(submit(http), 403, "forbidden")
        for method, path in (("POST", "/documents"), ("POST", "/close"), ("POST", "/cancel"), ("DELETE", "")):
            refused(http.request(method, f"/v1/jobs/{job}{path}"), 403, "forbidden")
        refused(http.post("/v1/jobs/cancel", json={"expected": 1}), 403, "forbidden")
        assert http.get(f"/v1/jobs/{job}").json()["open"] is True


def test_an_operator_sees_and_does_what_each_key_may(api: Running, operator: httpx.Client) -> None:
    with api.http() as producer:
        job = submit(producer).json()["id"]
        assert operator.get("/v1/jobs").json()["jobs"] == [], "its own are shown without a wish"
        owner = next(key["id"] for key in operator.get("/v1/keys").json()["keys"] if key["name"] == "producer")
        for asked in ({"keys": "all"}, {"key": owner}, {"keys": "all", "state": "queued", "task": "ner"}):
            assert [row["id"] for row in operator.get("/v1/jobs", params=asked).json()["jobs"]] == [job], asked
        assert operator.get("/v1/jobs", params={"keys": "all", "state": "running"}).json()["jobs"] == []
        work(api.store)
        assert len(operator.get(f"/v1/jobs/{job}/results").json()["results"]) == 1
        assert submit(operator).status_code == 201
        found = operator.get("/v1/jobs", params={"keys": "all", "limit": 1}).json()
        older = operator.get("/v1/jobs", params={"keys": "all", "cursor": found["next_cursor"]}).json()
        assert [row["id"] for row in older["jobs"]] == [job]
        assert operator.delete(f"/v1/jobs/{job}").status_code == 204
        refused(producer.get(f"/v1/jobs/{job}"), 404, "job_not_found")
        refused(operator.get(f"/v1/jobs/{job}"), 404, "job_not_found")


def test_an_operator_names_a_key_that_is_none(api: Running, operator: httpx.Client) -> None:
    job = {"task": "ner", "model": "echo", "documents": [{"text": "a"}]}
    refused(operator.post("/v1/jobs", params={"key": 999}, json=job), 404, "key_not_found")
    refused(operator.get("/v1/jobs", params={"key": 999}), 404, "key_not_found")
    refused(operator.get("/v1/jobs", params={"key": 2**63}), 422, "invalid_request")


def test_others_see_no_key_but_their_own(api: Running) -> None:
    with api.http() as http:
        own = http.get("/v1/jobs", params={"key": 1})
        assert own.status_code == 200
        for path in ("/v1/jobs?key=2", "/v1/stats?key=2", "/v1/jobs?keys=all", "/v1/keys", "/v1/keys/1"):
            refused(http.get(path), 403, "forbidden")
        refused(http.post("/v1/keys", json={"name": "mine"}), 403, "forbidden")
        refused(http.post("/v1/keys/1/rotate"), 403, "forbidden")
        refused(http.delete("/v1/keys/1"), 403, "forbidden")
        refused(http.patch("/v1/keys/1", json={"role": "operator"}), 403, "forbidden")
        assert http.get("/v1/jobs").status_code == 200


# --- what operators do with keys --------------------------------------------------------------------------------------


def test_a_key_from_its_making_to_its_end(api: Running, operator: httpx.Client) -> None:
    asked = {"name": "newsroom", "limits": {"open_jobs": 5}}
    made = operator.post("/v1/keys", json=asked).json()
    key = made["key"]
    assert (key["name"], key["role"], key["last_used_at"], key["revoked_at"]) == ("newsroom", "producer", None, None)
    assert key["limits"] == {"requests_per_minute": None, "open_jobs": 5, "documents_per_day": None}
    path = f"/v1/keys/{key['id']}"
    with api.http(made["secret"]) as http:
        assert http.get("/v1/jobs").status_code == 200
        changed = operator.patch(path, json={"role": "reader"}).json()
        assert (changed["role"], changed["limits"]["open_jobs"]) == ("reader", 5)
        changed = operator.patch(path, json={"limits": {"documents_per_day": 9}}).json()
        assert (changed["limits"]["open_jobs"], changed["limits"]["documents_per_day"]) == (None, 9)
        assert operator.delete(path).status_code == 204
        refused(http.get("/v1/jobs"), 401, "unauthorized")
    assert operator.get(path).json()["revoked_at"] is not None
    for answer in (operator.delete(path), operator.post(f"{path}/rotate"), operator.patch(path, json={"name": "x"})):
        refused(answer, 404, "key_not_found")
    refused(operator.get("/v1/keys/999"), 404, "key_not_found")
    assert made["secret"] not in operator.get("/v1/keys").text


@pytest.mark.parametrize(
    "wrong",
    [{}, {"name": ""}, {"name": "x", "role": "king"}, {"name": "x", "limits": {"open_jobs": -1}},
     {"name": "x", "limits": {"requests_per_minute": 0}}, {"name": "x", "limits": {"unknown": 1}}, {"name": "a\0b"}],
)  # fmt: skip
def test_a_wrong_key_is_not_made(operator: httpx.Client, wrong: dict[str, object]) -> None:
    answer = operator.post("/v1/keys", json=wrong)
    assert answer.status_code == 422, answer.text
    assert len(operator.get("/v1/keys").json()["keys"]) == 2


def test_a_rotated_key_has_two_secrets_for_a_while(store: Store) -> None:
    made = store.write(keys.create, "rotated")
    second = store.write(keys.rotate, made.id, 3_600)
    assert {store.read(keys.authenticate, secret).id for secret in (made.secret, second.secret)} == {made.id}
    assert store.read(keys.get, made.id).previous_secret_until is not None
    third = store.write(keys.rotate, made.id, 3_600)
    with pytest.raises(Unauthorized):
        store.read(keys.authenticate, made.secret)  # of the rotation before the last one
    assert store.read(keys.authenticate, second.secret).id == made.id
    store.write(lambda tx: tx.execute(sa.update(keys_table).values(previous_until=db_time(-1))))
    with pytest.raises(Unauthorized):
        store.read(keys.authenticate, second.secret)
    assert store.read(keys.get, made.id).previous_secret_until is None
    last = store.write(keys.rotate, made.id, 0)
    with pytest.raises(Unauthorized):
        store.read(keys.authenticate, third.secret)
    store.write(keys.rotate, made.id, 60)
    store.write(keys.revoke, made.id)
    with pytest.raises(Unauthorized):
        store.read(keys.authenticate, last.secret)


def test_when_a_key_was_last_used_is_stored(store: Store, operator: httpx.Client, api: Running) -> None:
    assert store.read(keys.get, 1).last_used_at is None
    with api.http() as http:
        http.get("/v1/jobs").raise_for_status()
    api.server.should_exit = True  # what is not stored yet is stored at the end
    seen = threading.Event()
    for _ in range(600):
        if store.read(keys.get, 1).last_used_at is not None:
            break
        seen.wait(0.1)
    assert store.read(keys.get, 1).last_used_at is not None


def test_the_command_does_the_same(store: Store) -> None:
    def command(*args: str) -> tuple[int, str, str]:
        run = CliRunner().invoke(keys_group, args, env={"DATABASE_URL": store.url})
        return run.exit_code, run.stdout, run.stderr

    code, secret, said = command("create", "desk", "--role", "reader", "--requests-per-minute", "60")
    assert code == 0, said
    number = said.split()[1]
    grant = store.read(keys.authenticate, secret.strip())
    assert (grant.role, grant.limits.requests_per_minute) == ("reader", 60)
    assert command("set", number, "--role", "operator", "--open-jobs", "3", "--unlimited")[0] == 0
    grant = store.read(keys.authenticate, secret.strip())
    assert grant == (int(number), "operator", Limits(open_jobs=3))
    code, new, _ = command("rotate", number, "--overlap-hours", "0")
    assert store.read(keys.authenticate, new.strip()).id == int(number)
    [listed] = [json.loads(line) for line in command("list", "--json")[1].splitlines() if f'"id": {number},' in line]
    assert (listed["name"], listed["role"]) == ("desk", "operator")
    assert "3 open jobs" in command("list")[1]
    assert command("set", number)[0] == 2
    assert command("rotate", "999")[0] == 2


# --- limits -----------------------------------------------------------------------------------------------------------


def test_a_key_has_so_many_open_jobs(api: Running) -> None:
    with api.http(limited(api.store, open_jobs=2)) as http:
        first, second = (submit(http).json()["id"] for _ in range(2))
        third = submit(http)
        refused(third, 429, "too_many_open_jobs")
        assert third.headers["retry-after"].isdecimal()
        again = {"Idempotency-Key": "one"}
        body = {"task": "ner", "model": "echo", "documents": [{"text": "a"}]}
        http.post(f"/v1/jobs/{second}/cancel").raise_for_status()
        made = http.post("/v1/jobs", json=body, headers=again)
        assert made.status_code == 201
        assert http.post("/v1/jobs", json=body, headers=again).json()["id"] == made.json()["id"], "it is no new one"
        refused(submit(http), 429, "too_many_open_jobs")
        http.post(f"/v1/jobs/{first}/cancel").raise_for_status()
        assert submit(http).status_code == 201
    with api.http() as other:
        assert submit(other).status_code == 201


def test_a_key_submits_so_many_documents_a_day(api: Running) -> None:
    with api.http(limited(api.store, documents_per_day=10)) as http:
        job = submit(http, 4, open=True).json()["id"]
        add = {"documents": [{"text": "x"}] * 5}
        for _ in range(2):  # the second is the first, asked again
            http.post(f"/v1/jobs/{job}/documents", json=add, headers={"Upload-Offset": "4"}).raise_for_status()
        over = http.post(f"/v1/jobs/{job}/documents", json=add, headers={"Upload-Offset": "9"})
        refused(over, 429, "daily_limit_reached")
        assert over.json()["details"]["left"] == 1
        assert 0 < int(over.headers["retry-after"]) <= 86_400
        refused(submit(http, 2), 429, "daily_limit_reached")
        assert http.get(f"/v1/jobs/{job}").json()["counts"]["total"] == 9
        assert submit(http, 1).status_code == 201, "what was refused was not counted"
    api.store.write(lambda tx: tx.execute(sa.update(key_days).values(day=key_days.c.day - 1)))
    with api.http(api.store.write(keys.rotate, 2, 0).secret) as http:
        assert submit(http, 10).status_code == 201, "a new day"
    api.store.write(quota.forget_days)
    assert count(api.store, key_days) == 2
    api.store.write(lambda tx: tx.execute(sa.update(key_days).values(day=key_days.c.day - 1)))
    api.store.write(quota.forget_days)
    assert count(api.store, key_days) == 1


def test_requests_that_meet_pass_no_limit_together(store: Store) -> None:
    """Twelve at once; two may pass."""
    key = store.write(keys.create, "busy", "producer", Limits(open_jobs=2, documents_per_day=7))
    together = threading.Barrier(12)
    passed: list[str] = []
    refusals: list[str] = []

    def one(api: Running) -> None:
        with api.http(key.secret) as http:
            together.wait(60)
            answer = submit(http, 3)
            (passed if answer.status_code == 201 else refusals).append(answer.json().get("code", ""))

    with serving(store) as api:
        threads = [threading.Thread(target=one, args=(api,)) for _ in range(12)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(120)
    assert (len(passed), len(refusals)) == (2, 10)
    assert set(refusals) <= {"too_many_open_jobs", "daily_limit_reached"}
    assert count(store, jobs) == 2
    assert store.read(lambda tx: tx.execute(sa.select(key_days.c.documents)).scalar_one()) == 6


def test_the_day_is_one_of_utc(store: Store) -> None:
    key = store.write(keys.create, "k")
    with pytest.raises(DailyLimitReached) as refusal:
        store.write(quota.admit_documents, key.id, Limits(documents_per_day=1), 2)
    minute = store.read(lambda tx: tx.execute(sa.select(db_minute())).scalar_one())
    assert refusal.value.details["retry_after_seconds"] <= 60 * (1440 - minute % 1440) + 60
    assert count(store, key_days) == 0
    store.write(quota.admit_documents, key.id, Limits(documents_per_day=1), 1)
    assert store.read(lambda tx: tx.execute(sa.select(key_days.c.day)).scalar_one()) == minute // 1440
    with pytest.raises(TooManyOpenJobs):
        store.write(quota.admit_job, key.id, Limits(open_jobs=-1))


@pytest.mark.parametrize("backend", ["sqlite"], indirect=True)
def test_a_key_makes_so_many_requests_a_minute_over_all_processes(store: Store) -> None:
    secret = limited(store, requests_per_minute=3)
    with serving(store) as one, serving(store, secret="other") as two:
        with one.http(secret) as here, two.http(secret) as there:
            told = [http.get("/v1/jobs") for http in (here, there, here)]
            assert [answer.status_code for answer in told] == [200] * 3
            assert [answer.headers["ratelimit"].split(";")[1] for answer in told] == ["r=2", "r=1", "r=0"]
            assert told[0].headers["ratelimit-policy"] == '"requests";q=3;w=60'
            over = there.get("/v1/jobs")
            refused(over, 429, "too_many_requests")
            assert 0 < int(over.headers["retry-after"]) <= 60
            assert over.headers["ratelimit"].startswith('"requests";r=0;t=')
        with one.http() as free:
            assert "ratelimit" not in free.get("/v1/jobs").headers


def test_without_redis_each_process_counts_by_itself(
    own_valkey: ValkeyProcess, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("api.rates.AWAY_SECONDS", 0)

    async def outage() -> None:
        rates = Rates(own_valkey.url)
        assert (await rates.take(1, 3)).remaining == 2
        own_valkey.kill()
        assert [(await rates.take(1, 3)).remaining for _ in range(3)] == [2, 1, 0]
        assert not (await rates.take(1, 3)).taken
        own_valkey.start()
        assert (await rates.take(1, 3)).remaining == 2

    asyncio.run(outage())
    said = [record.message.split(",")[0] for record in caplog.records if record.name == "api.rates"]
    assert said == ["Redis is away", "Redis counts requests again"]
