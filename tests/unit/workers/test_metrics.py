"""What the engine tells of its batches."""

from prometheus_client import REGISTRY, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from workers.metrics import Documents, Throughput


def test_how_full_batches_were_is_told_once() -> None:
    throughput = Throughput(clock=lambda: 0.0)
    assert throughput.filled() == (0, 0)
    for tokens, padded in ((30, 40), (10, 10)):
        throughput.batch("echo", 1, tokens, padded, 0.1)
    assert throughput.filled() == (40, 50)
    assert throughput.filled() == (0, 0)


def test_a_histogram_is_told_of_many_documents_at_once() -> None:
    histogram = Documents("textmill_told_seconds", "In this test", ["task", "model"], (0.1, 1, 60))
    try:
        for seconds, documents in ((0.05, 500), (0.1, 1), (2, 40), (1e9, 3)):
            histogram.observe(("ner", "echo"), seconds, documents)
        histogram.observe(("ner", 'quo"te'), 1, 2)
        text = generate_latest(REGISTRY).decode()
    finally:
        REGISTRY.unregister(histogram)
    [family] = [one for one in text_string_to_metric_families(text) if one.name == "textmill_told_seconds"]
    found = {(sample.name, sample.labels["model"], sample.labels.get("le")): sample.value for sample in family.samples}
    name = "textmill_told_seconds"
    assert [found[f"{name}_bucket", "echo", le] for le in ("0.1", "1.0", "60.0", "+Inf")] == [501, 501, 541, 544]
    assert (found[f"{name}_count", "echo", None], found[f"{name}_count", 'quo"te', None]) == (544, 2)
    assert found[f"{name}_sum", "echo", None] == 25 + 0.1 + 80 + 3e9
