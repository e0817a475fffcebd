"""A sequence-to-sequence model as it ships: how it is written to its folder, and what it then answers."""

import bz2
import json
import shutil
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm
from transformers import AutoModelForSeq2SeqLM, AutoTokenizer, GenerationConfig, MarianMTModel

from models.training import served
from models.training.served import Format

MODELS = Path(__file__).parent.parent
DATA = Path(__file__).parent / "data"
TOKENIZER_FILES = ("source.spm", "target.spm", "vocab.json", "tokenizer_config.json")
UNKNOWN_SIGNS = ("<unk>", "⁇")


def save(model: MarianMTModel, tokenizer: Path, folder: Path, generation: dict[str, Any]) -> None:
    """Write weights (fp16), tokenizer and generation defaults; the folder's other files stay."""
    ids = model.config
    model.generation_config = GenerationConfig(
        decoder_start_token_id=ids.pad_token_id,
        pad_token_id=ids.pad_token_id,
        eos_token_id=ids.eos_token_id,
        # As Marian's own checkpoints: the start is never said, and what may not be said takes no probability away
        # from the rest. With this every backend searches by the same rule.
        bad_words_ids=[[ids.pad_token_id]],
        renormalize_logits=True,
        **generation,
    )
    model.half().save_pretrained(folder)
    (folder / "model.safetensors").chmod(0o644)  # written as 0600, which a service's own user could not read
    # fp16 is for the disk; who asks for no dtype gets fp32.
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"dtype": "float32"}, indent=2) + "\n")
    if tokenizer != folder:
        for name in TOKENIZER_FILES:
            shutil.copyfile(tokenizer / name, folder / name)


def generate(folder: Path, texts: Sequence[str], dtype: Format | None = None, batch: int = 32) -> list[str]:
    """What the model answers to each text, with its own generation defaults: by transformers in fp32, or where a dtype
    is given by CTranslate2 in that."""
    if dtype is not None:
        return served.generate(folder, texts, dtype)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Recommended: pip install sacremoses")
        tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForSeq2SeqLM.from_pretrained(folder, dtype=torch.float32).eval()
    order = sorted(range(len(texts)), key=lambda i: len(texts[i]))
    found: dict[int, str] = {}
    for at in tqdm(range(0, len(order), batch), desc=folder.name, mininterval=5):
        part = order[at : at + batch]
        inputs = tokenizer([texts[i] for i in part], padding=True, truncation=True, return_tensors="pt")
        with torch.inference_mode():
            output = model.generate(**inputs)
        found |= zip(part, tokenizer.batch_decode(output, skip_special_tokens=True), strict=True)
    return [found[i] for i in range(len(texts))]


def unknown_signs(outputs: Sequence[str]) -> int:
    """How many outputs show a sign of an unknown token."""
    return sum(any(sign in output for sign in UNKNOWN_SIGNS) for output in outputs)


def write_test(name: str, rows: Sequence[Any]) -> None:
    """Keep a test part beside the program, so that the quality command needs no network."""
    lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    (DATA / name).write_bytes(bz2.compress(lines.encode()))  # of texts this size a tenth less than by xz


def read_test(name: str, limit: int | None) -> list[tuple[str, str]]:
    """Pairs of a text and its reference, the first `limit` of them."""
    return [(text, reference) for text, reference in read_rows(name)[:limit]]


def read_rows(name: str) -> list[Any]:
    """What `write_test` kept."""
    return [json.loads(line) for line in bz2.decompress((DATA / name).read_bytes()).decode().splitlines()]
