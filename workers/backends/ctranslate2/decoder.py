"""Continuation by `ctranslate2.Generator`."""

from collections.abc import Sequence

import ctranslate2

from workers.backends.ctranslate2 import continuing
from workers.backends.ctranslate2.weights import Converted
from workers.checkpoint import generation
from workers.checkpoint.files import DecoderFiles
from workers.kinds import Generated, GenerationSettings, Kind, ModelSpec, NotOffered


class CTranslate2Decoder(DecoderFiles):
    """One decoder on one device. Making it converts the checkpoint where that was not done before.

    Raises NotOffered for a model that CTranslate2 cannot run, and ModelUnavailable.
    """

    def __init__(self, spec: ModelSpec) -> None:
        super().__init__(spec)
        if (reason := continuing.foreign(self._base)) is not None:
            raise NotOffered(reason)
        self._only_alike = spec.backend == "auto"
        """As with encoder-decoders: whoever names the backend wants its answers where they are others, too."""
        self._converted = Converted(self._checkpoint, self._config, Kind.CONTINUATION, spec)
        self.dtype = self._converted.dtype
        self._names: list[str] = []

    def check(self, settings: GenerationSettings) -> None:
        """Raises NotOffered for settings that are left to the backend's stand-in."""
        config = generation.applied(self._base, settings)
        if settings.sampling is not None:
            raise NotOffered("what it draws hangs on its batch")
        reason = continuing.beyond(config) or (continuing.unlike(config) if self._only_alike else None)
        if reason is not None:
            raise NotOffered(reason)

    def needs_equal_lengths(self, settings: GenerationSettings) -> bool:
        """With several beams, or a minimum."""
        return continuing.spread(generation.applied(self._base, settings)) == 0

    def load(self) -> None:
        """Raises ModelUnavailable."""
        self._converted.load(ctranslate2.Generator)
        self._names = [str(token) for token in range(self._config.vocab_size)]

    def unload(self) -> None:
        """Give the memory back."""
        self._converted.unload()

    def memory_bytes(self) -> int:
        """Of the weights."""
        return self._converted.memory_bytes()

    def generate(self, rows: Sequence[Sequence[int]], settings: GenerationSettings) -> list[Generated]:
        """One generation for all rows, those of about one length in one call."""
        generator, names = self._converted.model, self._names
        config = generation.applied(self._base, settings)
        found: dict[int, Generated] = {}
        for places in continuing.groups(rows, config):
            texts = [[names[token] for token in rows[place]] for place in places]
            answers = generator.generate_batch(texts, **continuing.search(config))
            for place, answer in zip(places, answers, strict=True):
                found[place] = generation.finished(answer.sequences_ids[0], config, 0)
        return [found[place] for place in range(len(rows))]
