"""Named entities, the model alone; and a model of the usual size, against what the core's arithmetic allows."""

import shutil
from collections.abc import Sequence
from pathlib import Path

from benchmarks import servers, work
from benchmarks.questions.models import DIRECT, GENERATE, OURS, arm, bundled
from benchmarks.questions.question import Aim, Arm, Question, Size

TEXTMILL, DIRECTLY = "Textmill, float32", "CTranslate2 directly, float32"
SORTED = "transformers, sorted, 16 rows"
PRODUCTS = "matrix products alone"
ONNX, PIPELINE, MATRIX = "benchmarks.peers.onnx_runtime", "benchmarks.peers.pipeline", "benchmarks.peers.matrix"

BUNDLED = bundled("ner")


def _bundled(size: Size) -> Sequence[Arm]:
    return [
        arm(TEXTMILL, "as it chooses by itself", OURS, {}, BUNDLED),
        arm("Textmill, int8", "as the catalogue has it on a CPU", OURS, {"dtype": "int8"}, BUNDLED, exact=False),
        arm("Textmill, torch", "backend by name", OURS, {"backend": "torch"}, BUNDLED, standard=False),
        arm(DIRECTLY, "its encoder; the head in numpy; sorted, 2,048 tokens a batch", DIRECT, {}, BUNDLED),
        arm("CTranslate2 directly, int8", "", DIRECT, {"dtype": "int8"}, BUNDLED, exact=False, standard=False),
        arm(SORTED, "longest first", GENERATE, {"batch": 16, "sort": True}, BUNDLED),
        arm("ONNX Runtime, float32", "longest first, 16 rows", ONNX, {}, BUNDLED, standard=False),
        arm("ONNX Runtime, int8", "dynamic", ONNX, {"dtype": "int8"}, BUNDLED, exact=False, standard=False),
        arm("transformers, one by one", "", GENERATE, {}, BUNDLED, standard=False),
        arm("pipeline(), one by one", "texts in, entities out", PIPELINE, {}, BUNDLED, exact=False, standard=False),
        arm(
            "pipeline(), 16 texts", "as they come", PIPELINE, {"batch": 16}, BUNDLED, exact=False, standard=False
        ),
    ]  # fmt: skip


def _base(documents: int, folder: Path) -> work.Work:
    """A model of bert-base's shape with the bundled model's words and labels; its weights are random."""
    from transformers import BertConfig, BertForTokenClassification

    place = folder / "bert-base"
    small = servers.ROOT / "models" / "ner-en-small"
    if not place.exists():
        config = BertConfig.from_pretrained(small)
        config.update({
            "hidden_size": 768, "num_hidden_layers": 12, "num_attention_heads": 12, "intermediate_size": 3_072,
            "max_position_embeddings": 512,
        })  # fmt: skip
        BertForTokenClassification(config).save_pretrained(place)
        for path in small.glob("tokenizer*"):
            shutil.copy(path, place)
        (folder / "catalogue.toml").write_text(ENTRY)
    return work.of(folder / "catalogue.toml", "ner", documents, {})


ENTRY = """
[bert-base]
task = "ner"
source = "bert-base"
window = 512
licence = "none"
limitations = "random weights"
default = true
"""


def _large(size: Size) -> Sequence[Arm]:
    return [
        arm(TEXTMILL, "as it chooses by itself", OURS, {}, _base),
        arm("Textmill, torch", "backend by name", OURS, {"backend": "torch"}, _base, standard=False),
        arm(PRODUCTS, "those of the layers over all tokens", MATRIX, {}, _base, exact=False),
        arm(
            DIRECTLY, "its encoder; the head in numpy; sorted, 2,048 tokens a batch", DIRECT, {}, _base, standard=False
        ),
        arm(SORTED, "longest first", GENERATE, {"batch": 16, "sort": True}, _base, standard=False),
        arm("ONNX Runtime, float32", "longest first, 16 rows", ONNX, {}, _base, standard=False),
    ]


QUESTIONS = (
    Question(
        "entities",
        "entities, the model alone, one thread a side",
        Size(400, 400),
        _bundled,
        (Aim("entities, model only: against CTranslate2 called directly", TEXTMILL, (DIRECTLY,), 0.97),),
    ),
    Question(
        "bert-base",
        "entities with a model of bert-base's shape, the model alone, one thread a side",
        Size(24, 24),
        _large,
        (Aim("entities, bert-base shape: share of the core's matrix rate", TEXTMILL, (PRODUCTS,), 0.75),),
    ),
)
