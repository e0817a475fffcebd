"""Which backend `auto` takes for which architecture and head, in fp32 on the CPU; that both answer alike is for the
tests of each task."""

from pathlib import Path

import pytest
import transformers as tf

from store import catalogue
from tests.unit import encoders_from_config as made
from tests.unit.models_from_config import DEVICE
from tests.unit.runners import opened
from workers.backends.ctranslate2.architectures import objection
from workers.kinds import Kind
from workers.models import make, spec_of

BY_CTRANSLATE2 = {"bert", "distilbert", "roberta", "xlm-roberta"}
HEADS = {
    "text-classification": "ForSequenceClassification",
    "question-answering": "ForQuestionAnswering",
    "fill-mask": "ForMaskedLM",
    "feature-extraction": "Model",
}
NONE_OF_ITS_OWN = {("bart", "fill-mask"), ("bart", "feature-extraction")}


@pytest.mark.parametrize("task", list(HEADS))
def test_auto_takes_ctranslate2_for_the_encoders_that_it_knows(task: str, tmp_path: Path) -> None:
    for family in made.ENCODERS:
        if (family, task) not in NONE_OF_ITS_OWN:
            runner = opened(made.save(family, HEADS[task], tmp_path / family), task, window=64)
            assert runner.backend.name == ("ctranslate2" if family in BY_CTRANSLATE2 else "torch"), family
            assert runner.dtype == "float32"


@pytest.mark.parametrize(
    ("config", "reason"),
    [
        (tf.LlamaConfig(rope_parameters={"rope_type": "yarn", "rope_theta": 1e4, "factor": 2.0}), "of the kind yarn"),
        (tf.MistralConfig(sliding_window=64), "its attention slides"),
        (tf.LlamaConfig(hidden_act="gelu"), "its activation is gelu"),
        (tf.GPT2Config(scale_attn_by_inverse_layer_idx=True), "scaled otherwise"),
        (tf.GemmaConfig(), "does not know the architecture gemma"),
    ],
)
def test_a_decoder_that_it_would_compute_wrongly_is_torchs(config: tf.PretrainedConfig, reason: str) -> None:
    assert reason in str(objection(config, Kind.CONTINUATION))


def test_decoders_that_it_knows() -> None:
    assert [objection(made.DECODERS[family][0](**made.DECODERS[family][3]), Kind.CONTINUATION)
            for family in made.DECODERS] == [None] * len(made.DECODERS)  # fmt: skip


def test_the_bundled_models_are_in_int8_on_a_cpu_and_in_their_own_format_on_a_gpu() -> None:
    bundled = catalogue.load(Path(__file__).parents[3] / "models" / "catalogue.toml").bundled()
    for entry in bundled.values():
        assert [spec_of(entry, device).dtype for device in ("cpu", "cuda", "cuda:1")] == ["int8", "auto", "auto"]
        assert spec_of(entry).dtype == ("auto" if DEVICE == "cuda" else "int8"), "auto takes what is there"
        assert spec_of(entry, "cpu", dtype="float32").dtype == "float32", "the process's own wish wins"
        assert make(spec_of(entry, "cpu")).backend.name == "ctranslate2"
