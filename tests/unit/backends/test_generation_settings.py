"""Which generation setting wins: the request's over the catalogue's over the checkpoint's."""

from typing import Any

import pytest
from transformers import GenerationConfig

from workers.backends.torch.generation import Generated, base_of, finished, settings

CHECKPOINT = GenerationConfig(
    max_length=142, min_length=56, num_beams=4, length_penalty=2.0, eos_token_id=2, do_sample=True, temperature=0.7
)


@pytest.mark.parametrize(
    ("catalogue", "request_", "limit", "expected"),
    [
        ({}, {}, 1024, {"max_length": 142, "min_length": 56, "num_beams": 4}),
        ({"num_beams": 2}, {}, 1024, {"num_beams": 2}),
        ({"num_beams": 2}, {"num_beams": 1}, 1024, {"num_beams": 1}),
        ({}, {"max_new_tokens": 99}, 1024, {"max_length": 100}),
        ({"max_new_tokens": 9}, {"max_length": 80}, 1024, {"max_length": 80}),
        ({"max_length": 80}, {"max_new_tokens": 99}, 1024, {"max_length": 100}),
        ({}, {"max_length": 20}, 1024, {"max_length": 20, "min_length": 10}),  # the checkpoint's 56 does not fit
        ({}, {"min_length": 0}, 1024, {"min_length": 0}),
        ({}, {}, 128, {"max_length": 128}),  # the model gives no more
        ({}, {"long_documents": "error", "source_lang": "en"}, 1024, {"max_length": 142}),
    ],
)
def test_layers(catalogue: dict[str, Any], request_: dict[str, Any], limit: int, expected: dict[str, Any]) -> None:
    found = settings(base_of(CHECKPOINT, {}), catalogue, request_, limit)
    assert {name: getattr(found, name) for name in expected} == expected


def test_what_is_not_asked_for_stays_the_checkpoints() -> None:
    base = base_of(CHECKPOINT, {})
    config = settings(base, {}, {"repetition_penalty": 1.3}, None, (("forced_bos_token_id", 7),)).apply(base)
    assert (config.length_penalty, config.repetition_penalty, config.forced_bos_token_id) == (2.0, 1.3, 7)
    assert config.do_sample is False
    assert config.temperature is None
    assert base.repetition_penalty is None, "the checkpoint's own are not changed"


def test_settings_of_the_configuration_for_the_task_come_between() -> None:
    base = base_of(CHECKPOINT, {"num_beams": 2, "max_length": 200, "prefix": "summarize: "})
    assert (base.num_beams, base.max_length) == (2, 200)


def test_without_any_length_the_models_limit_is_taken() -> None:
    assert settings(base_of(GenerationConfig(), {}), {}, {}, 64).max_length == 64


def test_equal_settings_are_one_group() -> None:
    base = base_of(CHECKPOINT, {})
    one = settings(base, {}, {"num_beams": 2, "length_penalty": 1.0}, 512)
    other = settings(base, {"length_penalty": 1.0}, {"num_beams": 2}, 512)
    assert one == other
    assert hash(one) == hash(other)


@pytest.mark.parametrize(
    ("row", "forced", "expected"),
    [
        ([2, 5, 6, 2, 1, 1], None, Generated([5, 6], False)),  # the start token is the end token (BART)
        ([0, 5, 6, 7, 8, 9], None, Generated([5, 6, 7, 8, 9], True)),
        ([2, 0, 5, 6, 7, 2], 2, Generated([0, 5, 6, 7], True)),  # an end that was forced at the limit
        ([2, 0, 5, 2, 1, 1], 2, Generated([0, 5], False)),
        ([0, 5, 6, 7, 8, 2], None, Generated([5, 6, 7, 8], False)),
        ([0, 2], None, Generated([], False)),
    ],
)
def test_finished(row: list[int], forced: int | None, expected: Generated) -> None:
    config = GenerationConfig(max_length=6, eos_token_id=2, pad_token_id=1, forced_eos_token_id=forced)
    assert finished(row, config) == expected
