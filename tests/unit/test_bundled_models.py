"""The bundled sequence-to-sequence models, loaded from their folders as any user of transformers would."""

from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from transformers import AutoModelForSeq2SeqLM, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase

MODELS = Path(__file__).parents[2] / "models"
TRANSLATION, SUMMARIZATION = MODELS / "translation-en-pt-small", MODELS / "summarization-en-small"
MEBIBYTE = 2**20

Loaded = tuple[PreTrainedTokenizerBase, PreTrainedModel]


def load(folder: Path) -> Loaded:
    model = AutoModelForSeq2SeqLM.from_pretrained(folder, dtype=torch.float32).eval()
    return AutoTokenizer.from_pretrained(folder), model


@pytest.fixture(scope="module")
def translation() -> Loaded:
    return load(TRANSLATION)


@pytest.fixture(scope="module")
def summarization() -> Loaded:
    return load(SUMMARIZATION)


def answer(loaded: Loaded, text: str) -> str:
    tokenizer, model = loaded
    output = model.generate(**tokenizer([text], return_tensors="pt"))
    return tokenizer.decode(output[0], skip_special_tokens=True)


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("This package contains the development files.", "desenvolvimento"),
        ("The program reads text files from the disk.", "arquivos"),
        ("Play chess across 3 boards!", "xadrez"),
    ],
)
def test_translation_writes_portuguese(translation: Loaded, text: str, word: str) -> None:
    assert word in answer(translation, text).lower()


def test_summary_is_shorter_and_about_the_text(summarization: Loaded) -> None:
    text = (
        "GNU Chess is a program that plays chess on the computer. It runs in a terminal, and a graphical interface "
        "can be put in front of it. Its strength can be set, and it can analyse games that were played by people."
    )
    summary = answer(summarization, text)
    assert "chess" in summary.lower()
    assert 0 < len(summary) < len(text) / 2


def test_characters_outside_the_vocabulary_leave_no_sign(translation: Loaded, summarization: Loaded) -> None:
    text = "The character 字 and the emoji 🙂 are not in the vocabulary of this model."
    for loaded in (translation, summarization):
        written = answer(loaded, text)
        assert written
        assert "⁇" not in written
        assert "<unk>" not in written


@pytest.mark.parametrize(("folder", "limit"), [(TRANSLATION, 23 * MEBIBYTE), (SUMMARIZATION, 16 * MEBIBYTE)])
def test_weights_are_fp16_and_the_folder_is_small(folder: Path, limit: int) -> None:
    with safe_open(folder / "model.safetensors", "pt") as weights:
        assert {weights.get_tensor(name).dtype for name in weights.keys()} == {torch.float16}  # noqa: SIM118
    assert sum(file.stat().st_size for file in folder.iterdir()) <= limit
