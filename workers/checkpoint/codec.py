"""Text to token ids and back, alike for fast tokenizers and for the SentencePiece ones of Marian and M2M100.

transformers' own `tokenizer(...)` sets truncation and padding on the shared backend at each call, and Marian switches
between two models in place; neither may be called from several threads. What is used here only reads.
"""

import copy
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from jinja2 import TemplateError
from numpy.typing import NDArray
from transformers import PretrainedConfig

from textmill.errors import ChatTemplateMissing, MessagesRefused, ModelUnavailable, ProcessingFailed
from workers.kinds import Frame, Offsets, Pair, PairFrame
from workers.text import languages


class TokenizerCodec:
    """A checkpoint's tokenizer (`workers.kinds.Codec`). Raises ModelUnavailable for one of neither kind."""

    def __init__(self, tokenizer: Any, config: PretrainedConfig) -> None:
        self._tokenizer = tokenizer
        self._frames: dict[Pair, Frame] = {}
        self._lock = threading.Lock()
        self._backend: Any = None
        self._pieces: Any = None
        self._vocabulary: Mapping[str, int] | None = None
        self._read: Mapping[int, str] | None = None
        if tokenizer.is_fast:
            self._backend = tokenizer.backend_tokenizer
            self._backend.no_truncation()
            self._backend.no_padding()
            # Languages change the post-processor, which must not happen while others encode: a copy takes that.
            self._probe = copy.deepcopy(tokenizer)
            self._token_lengths = _token_lengths(self._backend)
        else:
            self._pieces = getattr(tokenizer, "spm_source", None) or getattr(tokenizer, "sp_model", None)
            self._vocabulary = getattr(tokenizer, "encoder", None)
            if self._pieces is None or self._vocabulary is None:
                raise ModelUnavailable(f"the tokenizer {type(tokenizer).__name__} is neither fast nor SentencePiece")
        self._frame_of: Callable[[Pair], Frame] = self._choose(config.model_type)

    # --- text and ids -------------------------------------------------------------------------------------------------

    def encode(self, text: str) -> list[int]:
        """Token ids, special tokens left out."""
        if self._backend is not None:
            # A batch of one, since `encode` keeps the interpreter's lock while it works and `encode_batch` does not.
            ids: list[int] = self._backend.encode_batch([text], add_special_tokens=False)[0].ids
            return ids
        vocabulary, unknown = self._vocabulary, self._tokenizer.unk_token_id
        assert vocabulary is not None
        return [vocabulary.get(piece, unknown) for piece in self._pieces.encode(text, out_type=str)]

    def encode_with_offsets(self, text: str) -> tuple[list[int], Offsets]:
        """Token ids and where each stands, special tokens left out. Raises ModelUnavailable where the tokenizer is not
        a fast one."""
        encoding = self._encoding(text)
        return encoding.ids, encoding.offsets

    def _encoding(self, text: str) -> Any:
        if self._backend is None:
            kind = type(self._tokenizer).__name__
            raise ModelUnavailable(f"the tokenizer {kind} gives no positions in the text (it is not a fast one)")
        return self._backend.encode_batch([text], add_special_tokens=False)[0]

    def word_starts(self, text: str, ids: Sequence[int], offsets: Offsets) -> list[int]:
        """The indices of the tokens that begin a word, by the same rules as transformers' pipeline."""
        if not ids:
            return []
        unknown = self._tokenizer.unk_token_id
        starts, ends = np.array(offsets, dtype=np.intp).T
        if self._token_lengths is not None:
            # Tokenizers that mark continuations ("##ing"): such a token is longer than what it stands for.
            tokens = np.array(ids, dtype=np.intp)
            continues = (self._token_lengths[tokens] != ends - starts) & (tokens != unknown)
        else:
            characters = np.frombuffer((text + "x").encode("utf-32-le"), dtype=np.uint32)
            is_space = characters == ord(" ")
            continues = (starts > 0) & ~is_space[starts - 1] & ~is_space[starts]
            if unknown is not None:
                continues &= np.array(ids, dtype=np.intp) != unknown
        found: list[int] = np.flatnonzero(~continues).tolist()
        return found

    def words(self, text: str) -> tuple[list[int], Offsets, list[int | None]]:
        """Token ids with their places and the numbers of their words. Raises as `encode_with_offsets`."""
        encoding = self._encoding(text)
        return encoding.ids, encoding.offsets, encoding.word_ids

    def starts(self, text: str) -> list[int]:
        """Where each token of the text begins, in code points, ascending."""
        if self._backend is not None:
            return [start for start, _ in self._backend.encode_batch([text], add_special_tokens=False)[0].offsets]
        return [start for start, _ in self._pieces.encode(text, return_type="offset_mapping")["offsets"]]

    def decode(self, ids: Sequence[int]) -> str:
        """The text of generated ids, special tokens left out."""
        text: str = self._tokenizer.decode(list(ids), skip_special_tokens=True)
        return text

    def decode_all(self, ids: Sequence[int]) -> str:
        """The same with the special tokens."""
        text: str = self._tokenizer.decode(list(ids))
        return text

    def surfaces(self) -> list[str]:
        """What each token adds to a generated text, by id; empty for special ones."""
        count, special = len(self._tokenizer), set(self._tokenizer.all_special_ids)
        if self._backend is None:
            pieces = self._tokenizer.convert_ids_to_tokens(list(range(count)))
            return ["" if i in special else _plain(piece) for i, piece in enumerate(pieces)]
        # Behind another token each is decoded as inside a text, with the space that it begins with.
        [before] = self.encode("a")[-1:]
        first = len(self._backend.decode([before]))
        decoded = self._backend.decode_batch([[before, i] for i in range(count)])
        return ["" if i in special else text[first:] for i, text in enumerate(decoded)]

    def read(self, ids: Sequence[int]) -> str:
        """The text of input ids, special tokens left out: what a model is shown."""
        if self._backend is not None:
            text: str = self._backend.decode(list(ids))
            return text
        assert self._vocabulary is not None
        if self._read is None:
            special = set(self._tokenizer.all_special_ids)
            self._read = {i: "" if i in special else _plain(piece) for piece, i in self._vocabulary.items()}
        return "".join([self._read.get(i, " ") for i in ids])

    def chat(self, messages: Sequence[Mapping[str, str]]) -> str:
        """One text of messages, by the tokenizer's own template. Raises ChatTemplateMissing, MessagesRefused."""
        if self._tokenizer.chat_template is None:
            raise ChatTemplateMissing
        try:
            text = self._tokenizer.apply_chat_template(
                [dict(message) for message in messages], tokenize=False, add_generation_prompt=True
            )
        except TemplateError as error:  # the template's own `raise_exception`, or what it does not find in a message
            raise MessagesRefused(f"The model's chat template takes no such messages: {error}") from error
        return str(text)

    def token(self, text: str) -> int | None:
        """The one token that the text is, as it stands in the vocabulary, or at the start or inside of a text."""
        found: int | None = self._tokenizer.get_vocab().get(text)
        if found is not None:
            return found
        for written in (text, f" {text}"):
            ids = self.encode(written)
            if len(ids) == 1 and ids[0] != self._tokenizer.unk_token_id:
                return ids[0]
        return None

    @property
    def mask(self) -> tuple[str, int] | None:
        """The token that stands for one to be guessed, and its id."""
        token = self._tokenizer.mask_token
        return None if token is None else (str(token), int(self._tokenizer.mask_token_id))

    def pair_frame(self) -> PairFrame:
        """What goes around two texts. Raises ModelUnavailable for a tokenizer that knows no pairs."""
        encoding = self._backend.encode("a", "a", add_special_tokens=True) if self._backend is not None else None
        if encoding is None or not {0, 1} <= set(encoding.sequence_ids):
            raise ModelUnavailable(f"the tokenizer {type(self._tokenizer).__name__} knows no pairs of texts")
        ids, sides = encoding.ids, encoding.sequence_ids
        first = [i for i, side in enumerate(sides) if side == 0]
        second = [i for i, side in enumerate(sides) if side == 1]
        middle = range(first[-1] + 1, second[0])
        counted = sum(1 for i in middle if encoding.type_ids[i] == encoding.type_ids[first[0]])
        around = ids[: first[0]], ids[middle.start : middle.stop], ids[second[-1] + 1 :]
        prefix, between, suffix = map(tuple, around)
        return PairFrame(prefix, between, suffix, counted)

    # --- languages ----------------------------------------------------------------------------------------------------

    @property
    def known_languages(self) -> frozenset[str]:
        """The tokenizer's own codes; empty where it has none."""
        return self._known

    def frame(self, pair: Pair) -> Frame:
        """What goes around a text of this pair. Raises ProcessingFailed where the model does not know a language."""
        found = self._frames.get(pair)
        if found is None:
            with self._lock:
                found = self._frames[pair] = self._frame_of(pair)
        return found

    def _choose(self, model_type: str) -> Callable[[Pair], Frame]:
        tokenizer = self._tokenizer
        self._known: frozenset[str] = frozenset()
        if codes := getattr(tokenizer, "supported_language_codes", None):  # Marian with several target languages
            self._known = frozenset(code.removeprefix(">>").removesuffix("<<") for code in codes)
            return self._marian_frame
        if hasattr(tokenizer, "lang_code_to_token"):  # M2M100
            self._known = frozenset(tokenizer.lang_code_to_token)
            return self._m2m_frame
        if hasattr(tokenizer, "set_src_lang_special_tokens"):  # NLLB, mBART, mBART-50
            self._known = frozenset(str(t) for t in tokenizer.all_special_tokens if "_" in str(t))
            return self._fast_frame
        return self._plain_frame

    def _marian_frame(self, pair: Pair) -> Frame:
        assert self._vocabulary is not None
        return Frame((self._vocabulary[f">>{self._code(pair[1], 'target')}<<"],), (self._tokenizer.eos_token_id,))

    def _m2m_frame(self, pair: Pair) -> Frame:
        source, target = (
            self._tokenizer.get_lang_id(self._code(lang, side))
            for lang, side in zip(pair, ("source", "target"), strict=True)
        )
        return Frame((source,), (self._tokenizer.eos_token_id,), forced_bos_token_id=target)

    def _fast_frame(self, pair: Pair) -> Frame:
        self._probe.src_lang = self._code(pair[0], "source")
        prefix, suffix = special_tokens(self._probe.backend_tokenizer)
        target = self._probe.convert_tokens_to_ids(self._code(pair[1], "target"))
        # mBART-25 was trained with the target language as the decoder's first token, the others with it as the second.
        first = type(self._tokenizer).__name__.startswith("MBartTokenizer")
        if first:
            return Frame(tuple(prefix), tuple(suffix), decoder_start_token_id=target)
        return Frame(tuple(prefix), tuple(suffix), forced_bos_token_id=target)

    def _plain_frame(self, pair: Pair) -> Frame:
        if self._backend is None:
            return Frame((), (self._tokenizer.eos_token_id,))
        prefix, suffix = special_tokens(self._probe.backend_tokenizer)
        return Frame(tuple(prefix), tuple(suffix))

    def _code(self, language: str | None, side: str) -> str:
        if language is None:
            raise ProcessingFailed(f"This model translates between several languages and needs {side}_lang.")
        code = languages.resolve(language, self._known)
        if code is None:
            raise ProcessingFailed(
                f"The model knows no {side}_lang {language!r}; it has {', '.join(sorted(self._known))}"
            )
        return code


def special_tokens(backend: Any) -> tuple[list[int], list[int]]:
    """What a fast tokenizer puts before and after a text."""
    encoding = backend.encode("a", add_special_tokens=True)
    inside = [i for i, special in enumerate(encoding.special_tokens_mask) if not special]
    return encoding.ids[: inside[0]], encoding.ids[inside[-1] + 1 :]


def _plain(piece: str) -> str:
    """A SentencePiece piece as text."""
    return piece.replace("\u2581", " ")


def _token_lengths(backend: Any) -> NDArray[np.intp] | None:
    """Characters of each token by id, where the tokenizer marks continuations; else None."""
    if not getattr(backend.model, "continuing_subword_prefix", None):
        return None
    vocabulary = backend.get_vocab(with_added_tokens=True)
    lengths = np.zeros(max(vocabulary.values()) + 1, dtype=np.intp)
    lengths[list(vocabulary.values())] = [len(token) for token in vocabulary]
    return lengths
