"""The ledger's tables. docs/architecture.md ("The ledger") has the rules by which they are written to.

Times are the database's own. Texts and outputs are never updated.
"""

import sqlalchemy as sa

from store.session import Timestamp

metadata = sa.MetaData(
    naming_convention={
        "pk": "pk_%(table_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s_%(referred_table_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
    }
)


def _in(column: sa.Column[str], *states: str) -> sa.ColumnElement[bool]:
    # Written out in the statement, not bound: only so does a database see that a partial index holds what is asked for.
    return column.in_([sa.literal_column(f"'{state}'") for state in states])


# SQLite numbers rows only in a column that is declared INTEGER.
BigId = sa.BigInteger().with_variant(sa.Integer(), "sqlite")

keys = sa.Table(
    "keys",
    metadata,
    sa.Column("id", BigId, primary_key=True),
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("secret_hash", sa.String(64), nullable=False, unique=True),
    sa.Column("created_at", Timestamp, nullable=False),
    sa.Column("revoked_at", Timestamp),
    sa.Column("role", sa.String(16), nullable=False, server_default="producer"),
    # Limits: null is none.
    sa.Column("requests_per_minute", sa.Integer),
    sa.Column("open_jobs", sa.Integer),
    sa.Column("documents_per_day", BigId),
    # About when it was last used: written now and then, never by the request itself.
    sa.Column("last_used_at", Timestamp),
    # The secret of before the last rotation, and when it ends.
    sa.Column("previous_hash", sa.String(64), index=True, unique=True),
    sa.Column("previous_until", Timestamp),
)

# What keys with a limit a day have submitted: one row a key and day (of UTC, counted from 1970). Others have none.
key_days = sa.Table(
    "key_days",
    metadata,
    sa.Column("key_id", BigId, primary_key=True, autoincrement=False),
    sa.Column("day", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("documents", BigId, nullable=False),
)

jobs = sa.Table(
    "jobs",
    metadata,
    sa.Column("id", BigId, primary_key=True),
    sa.Column("uuid", sa.String(36), nullable=False, unique=True),
    sa.Column("key_id", BigId, sa.ForeignKey("keys.id"), nullable=False),
    sa.Column("task", sa.String(32), nullable=False),
    sa.Column("model", sa.Text, nullable=False),
    sa.Column("options", sa.Text, nullable=False),
    sa.Column("metadata", sa.Text, nullable=False),
    sa.Column("priority", sa.SmallInteger, nullable=False),
    sa.Column("state", sa.String(24), nullable=False),
    sa.Column("open", sa.Boolean(name="open"), nullable=False),
    sa.Column("total", sa.Integer, nullable=False),
    sa.Column("succeeded", sa.Integer, nullable=False, default=0),
    sa.Column("failed", sa.Integer, nullable=False, default=0),
    sa.Column("cancelled", sa.Integer, nullable=False, default=0),
    sa.Column("remaining_shards", sa.Integer, nullable=False),
    sa.Column("error_code", sa.Text),
    sa.Column("error_message", sa.Text),
    sa.Column("idempotency_key", sa.Text),
    sa.Column("body_hash", sa.String(64)),
    sa.Column("created_at", Timestamp, nullable=False),
    sa.Column("appended_at", Timestamp, nullable=False),
    sa.Column("started_at", Timestamp),
    sa.Column("finished_at", Timestamp),
    sa.Column("deleted_at", Timestamp),
    # Set where the job is fleeting: `store/fleeting.py`.
    sa.Column("expires_at", Timestamp),
    # Where its end is told, and true until a row of `deliveries` has it: `store/deliveries.py`.
    sa.Column("webhook", sa.Text),
    sa.Column("webhook_owed", sa.Boolean(name="webhook_owed")),
    # Of the request that it came by, or that had it retried last, where that is traced: `store/traces.py`.
    sa.Column("traceparent", sa.String(55)),
    sa.UniqueConstraint("key_id", "idempotency_key"),
    sa.CheckConstraint("succeeded + failed + cancelled <= total", name="counts"),
    sa.CheckConstraint("remaining_shards >= 0", name="remaining_shards"),
    sa.CheckConstraint(
        "state IN ('queued', 'running', 'completed', 'completed_with_errors', 'failed', 'cancelled')", name="state"
    ),
)
RUNNING = _in(jobs.c.state, "queued", "running")
ACTIVE = sa.and_(RUNNING, jobs.c.deleted_at.is_(None))
sa.Index("ix_jobs_key_newest", jobs.c.key_id, jobs.c.id)
# What `search.py` looks jobs up by. Counts are in none of them: settling rewrites them all the time.
for _column in ("state", "task", "model"):
    sa.Index(f"ix_jobs_key_{_column}", jobs.c.key_id, jobs.c[_column], jobs.c.id)
for _column in ("created_at", "finished_at"):
    sa.Index(f"ix_jobs_key_{_column}", jobs.c.key_id, jobs.c[_column])
sa.Index(
    "ix_jobs_active",
    jobs.c.model,
    jobs.c.key_id,
    postgresql_where=RUNNING,
    sqlite_where=RUNNING,
)
_OPEN = sa.and_(RUNNING, jobs.c.open)
sa.Index("ix_jobs_open", jobs.c.appended_at, postgresql_where=_OPEN, sqlite_where=_OPEN)
sa.Index("ix_jobs_finished", jobs.c.finished_at)
LASTING = jobs.c.expires_at.is_(None)
"""Not fleeting: what producers see of their jobs."""
sa.Index(
    "ix_jobs_expires",
    jobs.c.expires_at,
    postgresql_where=sa.text("expires_at IS NOT NULL"),
    sqlite_where=sa.text("expires_at IS NOT NULL"),
)
sa.Index(
    "ix_jobs_deleted",
    jobs.c.deleted_at,
    postgresql_where=sa.text("deleted_at IS NOT NULL"),
    sqlite_where=sa.text("deleted_at IS NOT NULL"),
)
UNTOLD = sa.and_(jobs.c.webhook_owed, jobs.c.finished_at.is_not(None))
"""Ended by a process of the previous release, which knows no webhooks."""
sa.Index(
    "ix_jobs_untold",
    jobs.c.id,
    postgresql_where=sa.text("webhook_owed AND finished_at IS NOT NULL"),
    sqlite_where=sa.text("webhook_owed = 1 AND finished_at IS NOT NULL"),  # as SQLAlchemy asks there
)

# No foreign keys on documents and results: PostgreSQL would run a trigger for each row of a bulk insert, and both are
# written only under a guarded row of `jobs` or `shards` and removed only by the purge.
documents = sa.Table(
    "documents",
    metadata,
    sa.Column("job_id", BigId, primary_key=True, autoincrement=False),
    sa.Column("position", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("document_id", sa.Text, nullable=False),
    sa.Column("text", sa.Text, nullable=False),
    # What the document has beside its text, as a JSON object; null where it has nothing.
    sa.Column("fields", sa.Text),
    sa.UniqueConstraint("job_id", "document_id"),
)

# Its columns are also the fields of `bulk.DocumentOutcome`, but for job_id, state and finished_at.
results = sa.Table(
    "results",
    metadata,
    sa.Column("job_id", BigId, primary_key=True, autoincrement=False),
    sa.Column("position", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("state", sa.String(12), nullable=False),
    sa.Column("output", sa.Text),
    sa.Column("error_code", sa.Text),
    sa.Column("error_message", sa.Text),
    sa.Column("model_revision", sa.Text),
    sa.Column("input_tokens", sa.Integer),
    sa.Column("output_tokens", sa.Integer),
    sa.Column("pieces", sa.Integer),
    sa.Column("truncated", sa.Boolean(name="truncated"), nullable=False),
    sa.Column("attempts", sa.Integer, nullable=False),
    sa.Column("backend", sa.Text),
    sa.Column("dtype", sa.Text),
    sa.Column("finished_at", Timestamp, nullable=False),
    sa.CheckConstraint("state IN ('succeeded', 'failed')", name="state"),
)
DECIDED = sa.and_(results.c.job_id == documents.c.job_id, results.c.position == documents.c.position)
"""By this a document has its result."""
FAILED = results.c.state == sa.literal_column("'failed'")
sa.Index(
    "ix_results_failed",
    results.c.job_id,
    results.c.position,
    postgresql_where=FAILED,
    sqlite_where=FAILED,
)
sa.Index(
    "ix_results_code",
    results.c.job_id,
    results.c.error_code,
    results.c.position,
    postgresql_where=FAILED,
    sqlite_where=FAILED,
)

# Failed documents of a job by their code: what `results` says, counted.
error_counts = sa.Table(
    "error_counts",
    metadata,
    sa.Column("job_id", BigId, primary_key=True, autoincrement=False),
    sa.Column("code", sa.Text, primary_key=True),
    sa.Column("documents", sa.Integer, nullable=False),
)

# What was settled in a minute (counted from 1970). A row for each worker process, so that workers never wait for each
# other's counts; the outcome is an error's code, or nothing for documents that succeeded.
minutes = sa.Table(
    "minutes",
    metadata,
    sa.Column("key_id", BigId, primary_key=True, autoincrement=False),
    sa.Column("minute", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("worker_id", sa.String(36), primary_key=True),
    sa.Column("outcome", sa.Text, primary_key=True),
    sa.Column("documents", sa.Integer, nullable=False),
)
sa.Index("ix_minutes_minute", minutes.c.minute)

# Tokens of the batches that a worker process ran in a minute, without padding and with it.
batches = sa.Table(
    "batches",
    metadata,
    sa.Column("minute", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("worker_id", sa.String(36), primary_key=True),
    sa.Column("tokens", sa.BigInteger, nullable=False),
    sa.Column("padded", sa.BigInteger, nullable=False),
)

shards = sa.Table(
    "shards",
    metadata,
    sa.Column("id", BigId, primary_key=True),
    sa.Column("job_id", BigId, sa.ForeignKey("jobs.id"), nullable=False),
    sa.Column("first", sa.Integer, nullable=False),
    sa.Column("last", sa.Integer, nullable=False),
    # Null in shards that the previous release made, until the sweep has adopted them.
    sa.Column("characters", sa.Integer),
    sa.Column("state", sa.String(12), nullable=False),
    sa.Column("token", sa.String(32)),
    sa.Column("worker_id", sa.String(36)),
    sa.Column("lease_expires_at", Timestamp),
    # When its documents were accepted, or were to run again. Null in shards that the previous release made.
    sa.Column("created_at", Timestamp),
    sa.Column("released_at", Timestamp),
    sa.Column("published_at", Timestamp),
    sa.Column("losses", sa.Integer, nullable=False, default=0),
    sa.Column("suspect", sa.Integer),
    sa.Column("suspect_attempts", sa.Integer, nullable=False, default=0),
    sa.CheckConstraint("state IN ('pending', 'queued', 'leased', 'done', 'cancelled')", name="state"),
    sa.CheckConstraint("first <= last", name="range"),
)
sa.Index("ix_shards_job_first", shards.c.job_id, shards.c.first)
# For the releases of processes of the previous version, which look up there when a job was served last.
sa.Index("ix_shards_job_served", shards.c.job_id, shards.c.released_at)
PENDING = _in(shards.c.state, "pending")
LEASED = _in(shards.c.state, "leased")
OUT = _in(shards.c.state, "queued", "leased")
"""Released and not finished: few, however many shards there are."""
UNMEASURED = sa.and_(PENDING, shards.c.characters.is_(None))
"""Made by a process of the previous release: nothing says that their jobs wait."""
for _name, _columns, _where in (
    ("pending", (shards.c.job_id, shards.c.first), PENDING),
    ("out", (shards.c.job_id,), OUT),
    ("leased", (shards.c.lease_expires_at,), LEASED),
    ("unmeasured", (shards.c.id,), UNMEASURED),
):
    sa.Index(f"ix_shards_{_name}", *_columns, postgresql_where=_where, sqlite_where=_where)

# What waits, found by an index however many jobs are active: `store/policy.py` says what it means. Neither table refers
# to others by a foreign key, whose checks would lock rows of `jobs` out of turn; a row that should be gone is found and
# removed by the next release that comes upon it.
turns = sa.Table(
    "turns",
    metadata,
    sa.Column("model", sa.Text, primary_key=True),
    sa.Column("key_id", BigId, primary_key=True, autoincrement=False),
    sa.Column("waiting", sa.Boolean(name="waiting"), nullable=False),
    sa.Column("tag", sa.Float, nullable=False),
    *(
        column
        for priority in ("high", "normal", "low")
        for column in (
            sa.Column(f"{priority}_tag", sa.Float, nullable=False, default=0),
            sa.Column(f"{priority}_place", BigId, nullable=False, default=0),
        )
    ),
)
sa.Index("ix_turns_tag", turns.c.model, turns.c.tag)
WAITING = turns.c.waiting
sa.Index(
    "ix_turns_waiting",
    turns.c.model,
    turns.c.tag,
    postgresql_where=sa.text("waiting"),
    sqlite_where=sa.text("waiting = 1"),  # as SQLAlchemy asks there
)

waiting = sa.Table(
    "waiting",
    metadata,
    sa.Column("job_id", BigId, primary_key=True, autoincrement=False),
    sa.Column("model", sa.Text, nullable=False),
    sa.Column("key_id", BigId, nullable=False),
    sa.Column("priority", sa.SmallInteger, nullable=False),
    sa.Column("place", BigId, nullable=False),
)
sa.Index("ix_waiting_line", waiting.c.model, waiting.c.key_id, waiting.c.priority, waiting.c.place, waiting.c.job_id)

speeds = sa.Table(
    "speeds",
    metadata,
    sa.Column("model", sa.Text, primary_key=True),
    sa.Column("characters_per_second", sa.Float, nullable=False),
    sa.Column("updated_at", Timestamp, nullable=False),
)

workers = sa.Table(
    "workers",
    metadata,
    sa.Column("id", sa.String(36), primary_key=True),
    sa.Column("host", sa.Text, nullable=False),
    sa.Column("pid", sa.Integer, nullable=False),
    sa.Column("device", sa.Text, nullable=False),
    sa.Column("models", sa.Text, nullable=False),
    sa.Column("resident", sa.Text, nullable=False),
    sa.Column("slots", sa.Integer, nullable=False),
    sa.Column("load", sa.Float, nullable=False),
    sa.Column("speeds", sa.Text),
    sa.Column("failed", sa.Text),
    sa.Column("machine", sa.Text),
    sa.Column("draining", sa.Boolean(name="draining")),
    sa.Column("batches", sa.Text),
    sa.Column("started_at", Timestamp, nullable=False),
    sa.Column("heartbeat_at", Timestamp, nullable=False),
)
STAYS = workers.c.draining.is_not(sa.true())
"""Those that take shards: a process that drains does what it has, and one of the previous release says nothing."""

duties = sa.Table(
    "duties",
    metadata,
    sa.Column("name", sa.String(32), primary_key=True),
    sa.Column("holder", sa.String(36)),
    sa.Column("held_until", Timestamp),
)

# Retries under way, of which the documents from `position` on are still to be prepared: `store/retrying.py`.
retries = sa.Table(
    "retries",
    metadata,
    sa.Column("job_id", BigId, primary_key=True, autoincrement=False),
    sa.Column("position", sa.Integer, nullable=False),
    sa.Column("codes", sa.Text),
    sa.Column("undecided", sa.Boolean(name="undecided"), nullable=False),
)

# Of transactions that must not be done twice: `store/receipts.py`.
receipts = sa.Table(
    "receipts",
    metadata,
    sa.Column("token", sa.String(32), primary_key=True),
    sa.Column("written_at", Timestamp, nullable=False),
)
sa.Index("ix_receipts_written", receipts.c.written_at)

# --- webhooks --------------------------------------------------------------------------------------------------------

# By what a key's deliveries are signed. In clear: who signs has to know it. The newest has no end.
webhook_secrets = sa.Table(
    "webhook_secrets",
    metadata,
    sa.Column("id", BigId, primary_key=True),
    sa.Column("key_id", BigId, sa.ForeignKey("keys.id"), nullable=False, index=True),
    sa.Column("secret", sa.Text, nullable=False),
    sa.Column("created_at", Timestamp, nullable=False),
    sa.Column("expires_at", Timestamp),
)

# An end of a job that is told to its webhook. It goes with its job, whoever purges that: also a process of a release
# that knows nothing of it.
deliveries = sa.Table(
    "deliveries",
    metadata,
    sa.Column("id", BigId, primary_key=True),
    sa.Column("uuid", sa.String(36), nullable=False, unique=True),
    sa.Column("job_id", BigId, sa.ForeignKey("jobs.id", ondelete="CASCADE"), nullable=False, index=True),
    sa.Column("key_id", BigId, nullable=False),
    sa.Column("url", sa.Text, nullable=False),
    sa.Column("type", sa.String(32), nullable=False),
    sa.Column("payload", sa.Text, nullable=False),
    sa.Column("state", sa.String(12), nullable=False),
    # All that were made, and those since it was due for the first time, or asked for again.
    sa.Column("attempts", sa.Integer, nullable=False, default=0),
    sa.Column("tries", sa.Integer, nullable=False, default=0),
    # Who sends it, and when somebody has to (again): while it is sent, when its sender is taken for dead.
    sa.Column("token", sa.String(32)),
    sa.Column("due_at", Timestamp),
    sa.Column("created_at", Timestamp, nullable=False),
    sa.Column("ended_at", Timestamp),
    sa.CheckConstraint("state IN ('pending', 'delivered', 'failed')", name="state"),
)
for _name, _columns, _text in (
    ("due", (deliveries.c.due_at,), "due_at IS NOT NULL"),
    ("key_due", (deliveries.c.key_id, deliveries.c.due_at), "due_at IS NOT NULL"),
    ("out", (deliveries.c.key_id,), "token IS NOT NULL"),
):
    sa.Index(f"ix_deliveries_{_name}", *_columns, postgresql_where=sa.text(_text), sqlite_where=sa.text(_text))

delivery_attempts = sa.Table(
    "delivery_attempts",
    metadata,
    sa.Column(
        "delivery_id",
        BigId,
        sa.ForeignKey("deliveries.id", ondelete="CASCADE"),
        primary_key=True,
        autoincrement=False,
    ),
    sa.Column("number", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("at", Timestamp, nullable=False),
    sa.Column("seconds", sa.Float, nullable=False),
    sa.Column("outcome", sa.String(16), nullable=False),
    # Of the answer, where there was one.
    sa.Column("status", sa.Integer),
    sa.Column("detail", sa.Text),
)

# --- files and orders: what comes in files of requests, at /openai/v1 ------------------------------------------------

# A file that was uploaded (its bytes are in `file_chunks`), or one of the two that an order ends with: of these nothing
# is here but their size, since they are made of the order's results whenever they are read.
files = sa.Table(
    "files",
    metadata,
    sa.Column("id", BigId, primary_key=True),
    sa.Column("uuid", sa.String(32), nullable=False, unique=True),
    sa.Column("key_id", BigId, sa.ForeignKey("keys.id"), nullable=False),
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("purpose", sa.String(16), nullable=False),
    # Null while it is uploaded.
    sa.Column("bytes", sa.BigInteger),
    sa.Column("chunks", sa.Integer, nullable=False, default=0),
    # Of a file that an order ends with.
    sa.Column("order_id", BigId),
    sa.Column("part", sa.String(8)),
    sa.Column("created_at", Timestamp, nullable=False),
    sa.Column("touched_at", Timestamp, nullable=False),
    sa.Column("expires_at", Timestamp),
    sa.Column("deleted_at", Timestamp),
    sa.CheckConstraint("part IN ('output', 'errors')", name="part"),
)
STORED = sa.and_(files.c.bytes.is_not(None), files.c.deleted_at.is_(None))
sa.Index("ix_files_key_newest", files.c.key_id, files.c.id)
sa.Index("ix_files_order", files.c.order_id)
for _name, _columns, _text in (
    ("uploading", (files.c.touched_at,), "bytes IS NULL AND deleted_at IS NULL"),
    ("expires", (files.c.expires_at,), "deleted_at IS NULL"),
    ("deleted", (files.c.deleted_at,), "deleted_at IS NOT NULL"),
):
    sa.Index(f"ix_files_{_name}", *_columns, postgresql_where=sa.text(_text), sqlite_where=sa.text(_text))

# Cut at the ends of lines, but for lines that are longer than the longest that is taken.
file_chunks = sa.Table(
    "file_chunks",
    metadata,
    sa.Column("file_id", BigId, primary_key=True, autoincrement=False),
    sa.Column("number", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("data", sa.LargeBinary, nullable=False),
)

# An order is a file of requests and what becomes of them: `store/orders.py`.
orders = sa.Table(
    "orders",
    metadata,
    sa.Column("id", BigId, primary_key=True),
    sa.Column("uuid", sa.String(32), nullable=False, unique=True),
    sa.Column("key_id", BigId, sa.ForeignKey("keys.id"), nullable=False),
    sa.Column("file_id", BigId, nullable=False),
    sa.Column("file_uuid", sa.String(32), nullable=False),
    sa.Column("endpoint", sa.Text, nullable=False),
    sa.Column("completion_window", sa.String(16), nullable=False),
    sa.Column("metadata", sa.Text, nullable=False),
    sa.Column("output_seconds", sa.BigInteger, nullable=False),
    sa.Column("state", sa.String(12), nullable=False),
    # What it will have ended as, once its files have been measured.
    sa.Column("ending", sa.String(12)),
    # Who is at work on it, and when somebody has to look at it (again).
    sa.Column("token", sa.String(32)),
    sa.Column("due_at", Timestamp),
    # Lines, those of them that were refused, and the documents of the others.
    sa.Column("total", sa.Integer, nullable=False, default=0),
    sa.Column("refused", sa.Integer, nullable=False, default=0),
    sa.Column("documents", sa.Integer, nullable=False, default=0),
    # All of its documents are in its jobs.
    sa.Column("fed", sa.Boolean(name="fed"), nullable=False, default=False),
    # Lines, once it has ended.
    sa.Column("succeeded", sa.Integer),
    sa.Column("failed", sa.Integer),
    # Why the whole of it failed, as a JSON list.
    sa.Column("errors", sa.Text),
    sa.Column("created_at", Timestamp, nullable=False),
    sa.Column("expires_at", Timestamp, nullable=False),
    sa.Column("in_progress_at", Timestamp),
    sa.Column("cancelling_at", Timestamp),
    sa.Column("finalizing_at", Timestamp),
    sa.Column("ended_at", Timestamp),
    sa.CheckConstraint(
        "state IN ('validating', 'in_progress', 'cancelling', 'finalizing', 'completed', 'failed', 'cancelled', "
        "'expired')",
        name="state",
    ),
)
UNFED = sa.and_(_in(orders.c.state, "validating", "in_progress"), sa.not_(orders.c.fed))
"""Somebody is still going to read its file."""
sa.Index("ix_orders_key_newest", orders.c.key_id, orders.c.id)
sa.Index("ix_orders_file", orders.c.file_id)
sa.Index("ix_orders_ended", orders.c.ended_at)
sa.Index(
    "ix_orders_due",
    orders.c.due_at,
    postgresql_where=sa.text("ended_at IS NULL"),
    sqlite_where=sa.text("ended_at IS NULL"),
)

# A job for each model and options that the lines of an order ask for.
order_jobs = sa.Table(
    "order_jobs",
    metadata,
    sa.Column("order_id", BigId, primary_key=True, autoincrement=False),
    sa.Column("number", sa.Integer, primary_key=True, autoincrement=False),
    # Of what the lines ask for, as they say it: by it they find their job.
    sa.Column("digest", sa.String(32), nullable=False),
    sa.Column("task", sa.String(32), nullable=False),
    sa.Column("model", sa.Text, nullable=False),
    sa.Column("options", sa.Text, nullable=False),
    # How its answers are to look, as a JSON object.
    sa.Column("form", sa.Text, nullable=False),
    sa.Column("job_id", BigId),
    # By this one it is found: SQLite gives the number of a job that was removed to another one, maybe another key's.
    sa.Column("job_uuid", sa.String(36)),
)

# Lines that were refused.
order_lines = sa.Table(
    "order_lines",
    metadata,
    sa.Column("order_id", BigId, primary_key=True, autoincrement=False),
    sa.Column("line", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("custom_id", sa.Text),
    sa.Column("code", sa.Text, nullable=False),
    sa.Column("message", sa.Text, nullable=False),
    sa.Column("param", sa.Text),
)
