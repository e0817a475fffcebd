"""What the engine tells of its batches."""

from workers.metrics import Throughput


def test_how_full_batches_were_is_told_once() -> None:
    throughput = Throughput(clock=lambda: 0.0)
    assert throughput.filled() == (0, 0)
    for tokens, padded in ((30, 40), (10, 10)):
        throughput.batch("echo", 1, tokens, padded, 0.1)
    assert throughput.filled() == (40, 50)
    assert throughput.filled() == (0, 0)
