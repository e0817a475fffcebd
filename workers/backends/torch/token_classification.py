"""Named entities by any `AutoModelForTokenClassification` whose tokenizer is a fast one."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import AutoModelForTokenClassification

from textmill.errors import DocumentTooLong, ModelUnavailable, ProcessingFailed
from workers.backends.torch import device as devices
from workers.backends.torch import loading
from workers.checkpoint.codec import special_tokens
from workers.runner import Item, Outcome, Prepared
from workers.text import entities, windows

CANARY = "Maria Silva of the World Bank flew from Lisbon to Berlin on Monday, and met the press there."

USUAL_SENTENCES = 6
"""In a document, for calibration."""


@dataclass(frozen=True, slots=True)
class _Memo:
    """What `assemble` needs of a document besides its scores."""

    text: str
    offsets: Sequence[tuple[int, int]]
    word_starts: Sequence[int]
    windows: Sequence[windows.Window]
    strategy: entities.Strategy
    labels: frozenset[str] | None
    min_score: float


class TokenClassificationRunner:
    """One NER model on one device.

    source: a folder or a hub id; revision: the hub's commit. defaults: the catalogue's options. window: the catalogue's
    limit in tokens, special ones included; None: the model's own.
    """

    def __init__(
        self,
        name: str,
        source: str,
        revision: str | None = None,
        defaults: Mapping[str, Any] | None = None,
        dtype: devices.Precision = "auto",
        window: int | None = None,
        device: str | torch.device = "auto",
    ) -> None:
        self.name = name
        self.revision = revision or ""
        self._checkpoint = loading.Checkpoint(source, revision)
        self._defaults = dict(defaults or {})
        self._wanted_window = window
        place = device if isinstance(device, torch.device) else devices.choose(device)
        self._resident = loading.Resident(self._checkpoint, AutoModelForTokenClassification, place, dtype)

    def open(self) -> None:
        """Read configuration and tokenizer. Raises ModelUnavailable."""
        config, tokenizer = self._checkpoint.config(), self._checkpoint.tokenizer()
        if not tokenizer.is_fast:
            raise ModelUnavailable(f"{self.name}: its tokenizer gives no positions in the text (it is not a fast one)")
        self._backend = tokenizer.backend_tokenizer
        self._backend.no_truncation()
        self._backend.no_padding()
        self._pad = config.pad_token_id if tokenizer.pad_token_id is None else tokenizer.pad_token_id
        names = {int(index): label for index, label in config.id2label.items()}
        self._labels = entities.Labels.of([names[index] for index in range(len(names))])
        self._prefix, self._suffix = special_tokens(self._backend)
        self._capacity = loading.window(config, tokenizer, self._wanted_window) - len(self._prefix + self._suffix)
        self._overlap = self._capacity // 4
        self._unknown = tokenizer.unk_token_id
        self._token_lengths = _token_lengths(self._backend)
        self.revision = self._checkpoint.digest()
        self._canary = self.prepare(CANARY, {}).items[0]
        self._probe = self.prepare(" ".join([CANARY] * USUAL_SENTENCES), {"long_documents": "auto"}).items[0]

    # --- prepare (task threads) ---------------------------------------------------------------------------------------

    def prepare(self, text: str, options: Mapping[str, Any]) -> Prepared:
        """Tokenize the document once and lay windows over it. Raises DocumentTooLong."""
        merged = self._defaults | {name: value for name, value in options.items() if value is not None}
        # A batch of one, since `encode` keeps the interpreter's lock while it works and `encode_batch` does not.
        encoding = self._backend.encode_batch([text], add_special_tokens=False)[0]
        ids, offsets = encoding.ids, encoding.offsets
        count = len(ids)
        if count > self._capacity and merged.get("long_documents") == "error":
            raise DocumentTooLong(f"The text has {count} tokens, and the model's window takes {self._capacity}.")
        word_starts = self._word_starts(text, ids, offsets)
        plan = windows.plan(count, word_starts, self._capacity, self._overlap) if count else []
        items = []
        for w in plan:
            payload = self._prefix + (ids if len(plan) == 1 else ids[w.start : w.stop]) + self._suffix
            items.append(Item(payload, len(payload)))
        labels = merged.get("labels")
        memo = _Memo(
            text,
            offsets,
            word_starts,
            plan,
            merged.get("aggregation_strategy", "simple"),
            frozenset(labels) if labels is not None else None,
            merged.get("min_score", 0.0),
        )
        return Prepared(items, memo, count, len(items))

    def _word_starts(self, text: str, ids: Sequence[int], offsets: Sequence[tuple[int, int]]) -> list[int]:
        """The indices of the tokens that begin a word, by the same rules as transformers' pipeline."""
        if not ids:
            return []
        starts, ends = np.array(offsets, dtype=np.intp).T
        if self._token_lengths is not None:
            # Tokenizers that mark continuations ("##ing"): such a token is longer than what it stands for.
            tokens = np.array(ids, dtype=np.intp)
            continues = (self._token_lengths[tokens] != ends - starts) & (tokens != self._unknown)
        else:
            characters = np.frombuffer((text + "x").encode("utf-32-le"), dtype=np.uint32)
            is_space = characters == ord(" ")
            continues = (starts > 0) & ~is_space[starts - 1] & ~is_space[starts]
            if self._unknown is not None:
                continues &= np.array(ids, dtype=np.intp) != self._unknown
        found: list[int] = np.flatnonzero(~continues).tolist()
        return found

    # --- run (engine thread) ------------------------------------------------------------------------------------------

    def load(self) -> None:
        """Raises ModelUnavailable, DeviceOutOfMemory."""
        self._resident.load()

    def unload(self) -> None:
        self._resident.unload()

    def memory_bytes(self) -> int:
        return self._resident.memory_bytes()

    def canary(self) -> Item:
        return self._canary

    def probe(self) -> Item:
        return self._probe

    def run(self, items: Sequence[Item]) -> list[NDArray[np.float32]]:
        """One forward pass: the probability of each label for each token, (tokens, labels), special tokens left out."""
        return loading.without_traceback(lambda: self._forward([item.payload for item in items]))

    @torch.inference_mode()
    def _forward(self, rows: Sequence[Sequence[int]]) -> list[NDArray[np.float32]]:
        ids, mask = loading.padded(rows, self._pad or 0, self._resident.device)
        logits = self._resident.model(input_ids=ids, attention_mask=mask).logits
        scores = logits.float().softmax(dim=-1).cpu().numpy()
        first, after = len(self._prefix), len(self._suffix)
        return [scores[i, first : len(row) - after] for i, row in enumerate(rows)]

    # --- assemble (task threads) --------------------------------------------------------------------------------------

    def assemble(self, prepared: Prepared, outputs: Sequence[NDArray[np.float32]]) -> Outcome:
        """Stitch the windows' scores and aggregate them over the whole document."""
        memo: _Memo = prepared.memo
        if not outputs:
            return Outcome({"entities": []}, prepared.input_tokens)
        scores = windows.stitch(memo.windows, outputs)
        if np.isnan(scores).any():
            raise ProcessingFailed("The model's scores are not numbers; float32 may help where float16 was chosen.")
        found = entities.extract(
            memo.text, memo.offsets, memo.word_starts, scores, self._labels, memo.strategy, memo.labels, memo.min_score
        )
        return Outcome({"entities": found}, prepared.input_tokens, pieces=prepared.pieces)


def _token_lengths(backend: Any) -> NDArray[np.intp] | None:
    """Characters of each token by id, where the tokenizer marks continuations; else None."""
    if not getattr(backend.model, "continuing_subword_prefix", None):
        return None
    vocabulary = backend.get_vocab(with_added_tokens=True)
    lengths = np.zeros(max(vocabulary.values()) + 1, dtype=np.intp)
    lengths[list(vocabulary.values())] = [len(token) for token in vocabulary]
    return lengths
