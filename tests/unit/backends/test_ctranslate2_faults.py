"""What CTranslate2 cannot compute fails by itself, and harms nothing after it."""

import pytest

from tests.unit import models_from_config
from tests.unit.runners import bound, loaded
from workers.faults import Fault, attempt
from workers.runner import Item, ModelRunner


@pytest.fixture(scope="module", params=["summarization", "ner"])
def runner(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> ModelRunner:
    folder = tmp_path_factory.mktemp("model")
    if request.param == "ner":
        return loaded(models_from_config.save_ner("bert", folder), "ner", backend="ctranslate2")
    return loaded(models_from_config.save_seq2seq("bart", folder), "summarization", backend="ctranslate2")


BEYOND_THE_VOCABULARY = 1_000_000


@pytest.mark.parametrize("payload", [[BEYOND_THE_VOCABULARY] * 4, [5] * 1_000], ids=["no such token", "too long"])
def test_an_item_that_it_cannot_compute_fails_and_the_next_is_as_before(
    runner: ModelRunner, payload: list[int]
) -> None:
    [good] = bound(runner).prepare("It rained.").items
    bad = Item(payload, len(payload), good.rows, good.group)
    before = runner.run([good])
    outputs, failure = attempt(lambda: runner.run([good, bad]), runner.backend.fault)
    assert outputs is None
    assert failure is not None
    assert failure.fault is Fault.OTHER, failure.error
    assert str(runner.run([good])) == str(before)
    assert runner.run([runner.canary()])
