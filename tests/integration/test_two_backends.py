"""A model whose jobs need two backends: each job is run by the one that answers it, and results say by which."""

from pathlib import Path

import pytest

from store import workers
from store.session import Store
from tests.worker_process import ROOT, Producer, running, wait_until

ENTRY = f"""
[small]
task = "translation"
source = "{ROOT}/models/translation-en-pt-small"
source_langs = ["en"]
target_langs = ["pt"]
window = 512
dtype = "float32"
options = {{ num_beams = 1 }}
licence = "MPL-2.0"
limitations = "-"
"""
TEXTS = ["The program reads text files from the disk.", "Play chess across 3 boards!"]


@pytest.mark.parametrize("backend", ["sqlite"], indirect=True)  # what the models run on is no matter of the database
def test_jobs_of_one_model_are_run_by_the_backend_that_answers_them(store: Store, key_id: int, tmp_path: Path) -> None:
    producer = Producer(store, key_id)
    with running(store, tmp_path, entries=ENTRY) as worker:
        languages = {"source_lang": "en", "target_lang": "pt"}
        usual = producer.submit(TEXTS, "translation", "small", **languages)
        special = producer.submit(TEXTS, "translation", "small", **languages, num_beams=2, early_stopping="never")
        found = [
            {(row.backend, row.dtype) for row in producer.results(producer.wait(job, 200))} for job in (usual, special)
        ]
        assert found == [{("ctranslate2", "float32")}, {("torch", "float32")}], worker.log
        answers = [[row.output for row in producer.results(job)] for job in (usual, special)]
        assert all("xadrez" in (output or "") for _, output in answers)
        revisions = {row.model_revision for job in (usual, special) for row in producer.results(job)}
        assert len(revisions) == 1
        wait_until(lambda: [w.resident for w in store.read(workers.live)] == [["small"]], "a model is named once")
        assert worker.stop() == 0
    producer.close()
