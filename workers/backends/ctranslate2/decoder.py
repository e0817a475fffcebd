"""Continuation by `ctranslate2.Generator`."""

from collections.abc import Sequence
from typing import ClassVar

import ctranslate2

from workers.backends.ctranslate2 import continuing
from workers.backends.ctranslate2.generating import CTranslate2Generating, Rules
from workers.checkpoint import generation
from workers.checkpoint.files import DecoderFiles
from workers.kinds import Generated, GenerationSettings, Kind, NotOffered


class CTranslate2Decoder(CTranslate2Generating, DecoderFiles):
    """One decoder on one device."""

    kind = Kind.CONTINUATION
    rules: ClassVar[Rules] = continuing
    runs = ctranslate2.Generator

    def check(self, settings: GenerationSettings) -> None:
        """Nor where it is to draw."""
        if settings.sampling is not None:
            raise NotOffered("what it draws hangs on its batch")
        super().check(settings)

    def needs_equal_lengths(self, settings: GenerationSettings) -> bool:
        """With several beams, or a minimum."""
        return continuing.spread(generation.applied(self._base, settings)) == 0

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
