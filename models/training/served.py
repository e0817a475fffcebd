"""What a model's folder answers where a worker runs it by CTranslate2, in float32 or int8, on the CPU."""

import tempfile
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn
from transformers import AutoModelForTokenClassification, AutoTokenizer
from transformers.modeling_outputs import BaseModelOutput

from workers.backends.ctranslate2.models import open_model
from workers.kinds import GenerationSettings, Kind, ModelSpec

Format = Literal["float32", "int8"]
BATCH = 64
LONGEST = 512
"""Tokens, where neither the tokenizer nor the model says less."""


def opened(folder: Path, kind: Kind, dtype: Format, threads: int = 0) -> Any:
    """The backend's model, loaded. Its conversion is not kept. Raises NotOffered, ModelUnavailable."""
    with tempfile.TemporaryDirectory() as cache:
        spec = ModelSpec(
            folder.name, None, str(folder), LONGEST, backend="ctranslate2", dtype=dtype, device="cpu",
            threads=threads, cache_dir=Path(cache),
        )  # fmt: skip
        model = open_model(spec, kind)
        model.load()
        return model


def generate(folder: Path, texts: Sequence[str], dtype: Format, threads: int = 0) -> list[str]:
    """What the encoder-decoder says to each text, by its own generation settings."""
    model = opened(folder, Kind.GENERATION, dtype, threads)
    tokenizer: Any = AutoTokenizer.from_pretrained(folder)
    settings = settings_of(model)
    rows = tokenizer(list(texts), truncation=True, max_length=model.window)["input_ids"]
    order = sorted(range(len(rows)), key=lambda i: len(rows[i]))
    found: dict[int, str] = {}
    for at in range(0, len(order), BATCH):
        part = order[at : at + BATCH]
        answers = model.generate([rows[i] for i in part], settings)
        found |= {i: tokenizer.decode(one.ids, skip_special_tokens=True) for i, one in zip(part, answers, strict=True)}
    return [found[i] for i in range(len(texts))]


def settings_of(model: Any) -> GenerationSettings:
    """The folder's own, as the backend takes them."""
    own = model.defaults("")
    known = {field.name for field in fields(GenerationSettings)}
    longest = own.get("max_length") or own.get("max_new_tokens", LONGEST - 1) + 1
    return GenerationSettings(**{k: v for k, v in own.items() if k in known} | {"max_length": longest})


class _Encoder(nn.Module):
    """In the place of a model's encoder."""

    def __init__(self, served: Any) -> None:
        super().__init__()
        self.served = served

    def forward(self, input_ids: Tensor, attention_mask: Tensor, **_: Any) -> BaseModelOutput:
        """(rows, tokens) -> hidden states, (rows, tokens, size)."""
        rows = [ids[: int(mask.sum())].tolist() for ids, mask in zip(input_ids, attention_mask, strict=True)]
        states = torch.from_numpy(self.served.states(rows))
        return BaseModelOutput(
            last_hidden_state=nn.functional.pad(states, (0, 0, 0, input_ids.shape[1] - states.shape[1]))
        )


def token_classifier(folder: Path, dtype: Format, threads: int = 0) -> Any:
    """transformers' model of the folder, whose encoder is CTranslate2's; texts of one part, padded on the right."""
    model: Any = AutoModelForTokenClassification.from_pretrained(folder, dtype=torch.float32).eval()
    setattr(model, model.base_model_prefix, _Encoder(opened(folder, Kind.TOKEN_SCORES, dtype, threads)))
    return model
