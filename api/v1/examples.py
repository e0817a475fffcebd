"""What requests and answers look like, for the description of the contract: wire type -> an example."""

from typing import Any

_MOMENT = "2026-11-27T12:00:00Z"

JOB: dict[str, Any] = {
    "id": "5f0c6c0e-4a30-4a8f-9d0a-3a6f4f2a6b11", "key": "newsroom", "task": "ner", "model": "ner-en-small",
    "state": "running", "open": False, "options": {"min_score": 0.5}, "priority": "normal",
    "metadata": {"batch": "november"},
    "counts": {"total": 10, "pending": 4, "succeeded": 5, "failed": 1, "cancelled": 0},
    "created_at": _MOMENT, "started_at": _MOMENT, "finished_at": None,
    "documents_per_second": 12.5, "eta_seconds": 0.3, "error": None, "notice": None,
    "errors": {"document_too_long": 1}, "webhook": None,
}  # fmt: skip

RESULT: dict[str, Any] = {
    "id": "a", "position": 0, "state": "succeeded", "error": None, "model": "ner-en-small", "model_revision": "1",
    "output": {"entities": [{"entity_group": "PER", "score": 0.99, "word": "Marie Curie", "start": 0, "end": 11}]},
    "backend": "torch", "dtype": "float32", "input_tokens": 9, "output_tokens": None, "pieces": 1, "truncated": False,
    "attempts": 1, "finished_at": _MOMENT, "text": "Marie Curie was born in Warsaw.",
    "fields": {},
}  # fmt: skip

DOCUMENT = {"id": "a", "position": 0, "text": "Marie Curie was born in Warsaw.", "fields": {}}

LIMITS = {"requests_per_minute": 600, "open_jobs": 50, "documents_per_day": None}

KEY = {
    "id": 3, "name": "newsroom", "role": "producer", "limits": LIMITS, "created_at": _MOMENT, "last_used_at": _MOMENT,
    "revoked_at": None, "previous_secret_until": None,
}  # fmt: skip

SECRET = {"id": 1, "created_at": _MOMENT, "expires_at": None}

DELIVERY = {
    "id": "msg_5b0f3d6c1e4f4a1fb0a4a1a8e2c7d9f0", "type": "job.completed", "url": "https://example.org/textmill",
    "state": "delivered", "created_at": _MOMENT, "next_attempt_at": None, "ended_at": _MOMENT,
    "attempts": [{"at": _MOMENT, "seconds": 0.2, "outcome": "delivered", "status": 204, "detail": None}],
}  # fmt: skip

EXAMPLES: dict[str, dict[str, Any]] = {
    "JobRequest": {
        "task": "ner", "options": {"min_score": 0.5}, "metadata": {"batch": "november"},
        "documents": [{"id": "a", "text": "Marie Curie was born in Warsaw."}],
    },
    "Document": {"id": "b", "text": "Ada Lovelace lived in London."},
    "DocumentsRequest": {"documents": [{"id": "b", "text": "Ada Lovelace lived in London."}]},
    "RetryRequest": {"codes": ["worker_lost"]},
    "CancelMatching": {"state": ["queued"], "metadata": {"batch": "november"}, "expected": 12},
    "RetryMatching": {"task": "ner", "codes": ["worker_lost"], "expected": 3},
    "Acted": {"matched": 1, "done": [JOB["id"]], "left": 0},
    "Job": JOB,
    "JobsPage": {"jobs": [JOB], "next_cursor": None},
    "Pace": {"bucket_seconds": 1, "exact": True, "buckets": [{"start": _MOMENT, "documents_per_second": 12.0}]},
    "Accepted": {"accepted": 1, "total": 11},
    "Result": RESULT,
    "ResultsPage": {"results": [RESULT], "next_cursor": "cmVzdWx0czox"},
    "StoredDocument": DOCUMENT,
    "DocumentsPage": {"documents": [DOCUMENT], "next_cursor": None},
    "Stats": {
        "now": _MOMENT, "key": "newsroom", "role": "producer", "bucket_seconds": 60, "flower_url": None,
        "queued": [{"model": "ner-en-small", "task": "ner", "documents": 4, "shards": 1, "oldest_seconds": 2.5}],
        "buckets": [
            {
                "start": _MOMENT, "documents_succeeded": 590, "documents_failed": 10, "documents_per_second": 10.0,
                "batch_fill": 0.93, "errors": {"document_too_long": 10},
            }
        ],
    },
    "Key": KEY,
    "KeyRequest": {"name": "newsroom", "role": "producer", "limits": LIMITS},
    "KeyChange": {"role": "reader"},
    "RotateRequest": {"overlap_seconds": 86_400},
    "KeyWithSecret": {"key": KEY, "secret": "tm_..."},
    "WebhookSecretRequest": {"overlap_seconds": 86_400},
    "WebhookSecretsPage": {"secrets": [SECRET]},
    "NewWebhookSecret": {**SECRET, "secret": "whsec_..."},
    "Delivery": DELIVERY,
    "DeliveriesPage": {"deliveries": [DELIVERY]},
    "Problem": {
        "type": "urn:textmill:job_not_found", "title": "There is no such job under this key.", "status": 404,
        "code": "job_not_found", "detail": "There is no such job under this key.", "details": {},
    },
}  # fmt: skip
