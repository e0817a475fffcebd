"""What the models of one forward pass have in common: hidden states by `ctranslate2.Encoder`, a head over them."""

from collections.abc import Sequence
from typing import Any, ClassVar

import ctranslate2
import numpy as np
from numpy.typing import NDArray

from textmill.errors import ModelUnavailable
from workers.backends.ctranslate2.conversion import HEAD
from workers.backends.ctranslate2.heads import Head
from workers.backends.ctranslate2.weights import Converted
from workers.checkpoint.files import EncoderFiles
from workers.kinds import Kind, ModelSpec, Row

States = NDArray[np.float32]


class CTranslate2Encoder(EncoderFiles):
    """One model on one device. Making it converts the checkpoint where that was not done before.

    Raises NotOffered for a model that CTranslate2 cannot run, and ModelUnavailable.
    """

    kind: ClassVar[Kind]

    def __init__(self, spec: ModelSpec) -> None:
        super().__init__(spec)
        self._converted = Converted(self._checkpoint, self._config, self.kind, spec)
        self.dtype = self._converted.dtype
        # RoBERTa's tokenizers know no types, and its models have but one.
        self._takes_types = "token_type_ids" in self._tokenizer.model_input_names
        self._head: Head | None = None

    @property
    def head(self) -> Head:
        """Raises ModelUnavailable while it is not loaded."""
        if self._head is None:
            raise ModelUnavailable(f"{self._name} is not loaded")
        return self._head

    def load(self) -> None:
        """Raises ModelUnavailable."""
        self._converted.load(ctranslate2.Encoder)
        path = self._converted.conversion.folder / HEAD
        self._head = Head.of(path, self.kind, self._config) if path.is_file() else None

    def unload(self) -> None:
        """Give the memory back."""
        self._converted.unload()
        self._head = None

    def memory_bytes(self) -> int:
        """Of the weights."""
        return self._converted.memory_bytes()

    def states(self, rows: Sequence[Sequence[int]], types: Sequence[Sequence[int]] | None = None) -> States:
        """One pass -> (rows, tokens of the longest, size); what stands beyond a row's end says nothing. types: which of
        two texts each token is of, padded alike; None: all are of the first."""
        encoder: Any = self._converted.model
        lengths = np.array([len(row) for row in rows], dtype=np.int32)
        ids = np.full((len(rows), lengths.max()), self._pad, dtype=np.int32)
        for i, row in enumerate(rows):
            ids[i, : len(row)] = row
        if ids.max() >= self._config.vocab_size:
            raise ValueError("a token beyond the vocabulary")  # CTranslate2 would read whatever lies there
        view = ctranslate2.StorageView.from_array
        hidden = encoder.forward_batch(view(ids), view(lengths), types).last_hidden_state
        # A copy: what the view is of goes with it.
        return np.array(hidden.to_device(ctranslate2.Device.cpu).to(ctranslate2.DataType.float32))

    def states_of_pairs(self, rows: Sequence[Row]) -> States:
        """The same for rows of one text or two."""
        ids = [row.ids for row in rows]
        if not self._takes_types or all(row.second is None for row in rows):
            return self.states(ids)
        longest = max(map(len, ids))
        types = []
        for row in rows:
            second = len(row.ids) if row.second is None else row.second
            types.append([0] * second + [1] * (len(row.ids) - second) + [0] * (longest - len(row.ids)))
        return self.states(ids, types)
