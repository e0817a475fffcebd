"""Generation by `ctranslate2.Translator`."""

from collections.abc import Sequence
from typing import ClassVar

import ctranslate2

from workers.backends.ctranslate2 import options
from workers.backends.ctranslate2.generating import CTranslate2Generating, Rules
from workers.checkpoint import generation
from workers.checkpoint.files import EncoderDecoderFiles
from workers.kinds import Generated, GenerationSettings, Kind


class CTranslate2EncoderDecoder(CTranslate2Generating, EncoderDecoderFiles):
    """One encoder-decoder model on one device."""

    kind = Kind.GENERATION
    rules: ClassVar[Rules] = options
    runs = ctranslate2.Translator

    def generate(self, rows: Sequence[Sequence[int]], settings: GenerationSettings) -> list[Generated]:
        """One generation for all rows, sorted and thinned out by CTranslate2 itself."""
        translator, names = self._converted.model, self._names
        config = generation.applied(self._base, settings)
        start = options.start(config)
        assert start is not None  # `foreign` has seen to it
        first = [str(token) for token in (start, *options.prefix(config))]
        answers = translator.translate_batch(
            [[names[token] for token in row] for row in rows], [first] * len(rows), **options.search(config)
        )
        return [generation.finished([start, *map(int, answer.hypotheses[0])], config) for answer in answers]
