"""What every backend must do for every kind that it offers. A new backend is tested by being there.

Equality with transformers over all families, settings and strategies is `test_generation_equality.py` and
`tests/unit/tasks/test_ner.py`; here is the behaviour that engine, residency and rules count on.
"""

import math
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.unit import encoders_from_config, models_from_config
from tests.unit.models_from_config import CORPUS, DEVICE, LABELS
from tests.unit.runners import CACHE
from textmill.errors import DeviceOutOfMemory, ModelUnavailable
from workers import backends
from workers.faults import FatalDeviceError, Fault
from workers.kinds import FillingSettings, GenerationSettings, Kind, ModelSpec, Row
from workers.runner import Backend

OFFERS = [(name, kind) for name, backend in backends.known().items() for kind in sorted(backend.kinds)]


def of(*kinds: Kind) -> pytest.MarkDecorator:
    """The test is about these kinds only."""
    return pytest.mark.parametrize("offer", [found for found in OFFERS if found[1] in kinds], indirect=True, ids=named)


def named(offer: tuple[str, Kind]) -> str:
    return f"{offer[0]}-{offer[1].replace(' ', '-')}"


WITH_WEIGHTS = of(*(kind for kind in Kind if kind is not Kind.TEXT))

TOPICS = ["politics", "weather", "software"]

FOLDERS: dict[Kind, Callable[[Path], Path]] = {
    Kind.GENERATION: lambda folder: models_from_config.save_seq2seq("bart", folder),
    Kind.TOKEN_SCORES: lambda folder: models_from_config.save_ner("bert", folder),
    Kind.CONTINUATION: lambda folder: encoders_from_config.save_decoder("gpt2", folder),
    Kind.SEQUENCE_SCORES: lambda folder: encoders_from_config.save(
        "bert", "ForSequenceClassification", folder, id2label=dict(enumerate(TOPICS))
    ),
    Kind.SPANS: lambda folder: encoders_from_config.save("bert", "ForQuestionAnswering", folder),
    Kind.MASKS: lambda folder: encoders_from_config.save("bert", "ForMaskedLM", folder),
    Kind.VECTORS: lambda folder: encoders_from_config.save("bert", "Model", folder),
    Kind.TEXT: lambda folder: folder,
}
"""A small checkpoint of each kind."""


@dataclass
class Offer:
    """A backend and a kind that it offers, over a small checkpoint."""

    backend: Backend
    kind: Kind
    spec: ModelSpec

    def opened(self) -> Any:
        return self.backend.open(self.spec, self.kind)

    def payloads(self, model: Any) -> list[Any]:
        """Texts of different lengths, as the model takes them."""
        texts = ["x", *CORPUS]
        if self.kind is Kind.TEXT:
            return texts
        frame = model.codec.frame((None, None))
        rows = [[*frame.prefix, *model.codec.encode(text), *frame.suffix] for text in texts]
        return [self.payload(model, row) for row in rows]

    def payload(self, model: Any, row: list[int]) -> Any:
        """A row as the kind takes it."""
        if self.kind in (Kind.SEQUENCE_SCORES, Kind.SPANS):
            return Row(row, len(row) // 2)
        if self.kind is Kind.MASKS:
            return [*row[:-1], model.codec.mask[1], row[-1]]
        return row

    def run(self, model: Any, payloads: Sequence[Any], **settings: Any) -> Sequence[Any]:
        """By the method of the kind."""
        if self.kind is Kind.TEXT:
            return model.texts(payloads)
        if self.kind is Kind.TOKEN_SCORES:
            return model.token_scores(payloads, (1, 1))
        if self.kind is Kind.SEQUENCE_SCORES:
            return model.logits(payloads)
        if self.kind is Kind.SPANS:
            return model.spans(payloads)
        if self.kind is Kind.MASKS:
            return [filling.ids for filling in model.fill(payloads, FillingSettings(**{"top_k": 3} | settings))]
        if self.kind is Kind.VECTORS:
            return model.vectors(payloads, settings.get("pooling", "mean"))
        return model.generate(payloads, GenerationSettings(**{"max_length": 16} | settings))


@pytest.fixture(scope="module", params=OFFERS, ids=named)
def offer(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Offer:
    name, kind = request.param
    folder = FOLDERS[kind](tmp_path_factory.mktemp("model"))
    spec = ModelSpec(
        "small", None, str(folder), window=64, backend=name, dtype="float32", device=DEVICE, threads=1, cache_dir=CACHE
    )
    return Offer(backends.get(name), kind, spec)


@pytest.fixture(scope="module")
def loaded(offer: Offer) -> Any:
    model = offer.opened()
    model.load()
    return model


def has_weights(offer: Offer) -> bool:
    return offer.kind is not Kind.TEXT


def same(one: Any, other: Any) -> bool:
    return np.allclose(one, other, atol=2e-4) if isinstance(one, np.ndarray) else one == other


def test_there_are_backends() -> None:
    assert {name for name, _ in OFFERS} >= {"torch", "ctranslate2", "echo"}
    assert {kind for _, kind in OFFERS} == set(Kind)


def test_a_backend_has_the_name_of_its_folder_and_a_rank_of_its_own() -> None:
    known = backends.known()
    for name, backend in known.items():
        assert (Path(backends.__file__).parent / name / "__init__.py").is_file()
        assert backend.name == name
        assert backend.batch_tokens is None or backend.batch_tokens > 0
    assert len({backend.rank for backend in known.values()}) == len(known)


def test_it_can_run_what_it_offers_and_says_why_not_otherwise(offer: Offer) -> None:
    assert offer.backend.inspect(offer.spec, offer.kind) is None
    for kind in set(Kind) - offer.backend.kinds:
        if (reason := offer.backend.inspect(replace(offer.spec, backend="auto"), kind)) is not None:
            assert reason


def test_it_reports_revision_and_number_format(offer: Offer) -> None:
    model, again = offer.opened(), offer.opened()
    assert model.revision == again.revision != ""
    assert model.dtype == ("float32" if has_weights(offer) else "none")


@WITH_WEIGHTS
def test_a_checkpoint_that_is_not_there_is_unavailable(offer: Offer, tmp_path: Path) -> None:
    with pytest.raises(ModelUnavailable, match=str(tmp_path)):
        offer.backend.open(replace(offer.spec, source=str(tmp_path)), offer.kind)


def test_memory_is_counted_and_given_back(offer: Offer) -> None:
    model = offer.opened()
    assert model.memory_bytes() == 0
    for _ in range(2):
        model.load()
        assert (model.memory_bytes() > 0) == has_weights(offer)
        assert offer.run(model, offer.payloads(model)[:1])
        model.unload()
        assert model.memory_bytes() == 0


@WITH_WEIGHTS
def test_it_does_not_run_while_unloaded(offer: Offer) -> None:
    model = offer.opened()
    with pytest.raises(ModelUnavailable):
        offer.run(model, offer.payloads(model))


def test_one_output_for_each_payload_in_order_whatever_the_batch(offer: Offer, loaded: Any) -> None:
    payloads = offer.payloads(loaded)
    together = list(offer.run(loaded, payloads))
    apart = [offer.run(loaded, [payload])[0] for payload in payloads]
    backwards = list(reversed(list(offer.run(loaded, payloads[::-1]))))
    assert len(together) == len(payloads)
    for other in (apart, backwards):
        assert all(same(one, two) for one, two in zip(together, other, strict=True))
    kinds_of_answers = {
        str(np.round(output, 2)) if isinstance(output, np.ndarray) else str(output) for output in together
    }
    assert len(kinds_of_answers) > 1, "answers that are all alike would be in any order"


def test_it_prepares_from_many_threads_while_it_runs(offer: Offer, loaded: Any) -> None:
    expected = offer.payloads(loaded)
    done = threading.Event()

    def run() -> None:
        while not done.is_set():
            offer.run(loaded, expected[:2])

    runs = threading.Thread(target=run)
    runs.start()
    try:
        with ThreadPoolExecutor(8) as pool:
            assert all(found == expected for found in pool.map(lambda _: offer.payloads(loaded), range(64)))
    finally:
        done.set()
        runs.join()


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (DeviceOutOfMemory(), Fault.OUT_OF_MEMORY),
        (MemoryError(), Fault.OUT_OF_MEMORY),
        (FatalDeviceError("x"), Fault.FATAL),
        (ValueError("a bad item"), Fault.OTHER),
    ],
)
def test_it_knows_the_faults_that_all_have_in_common(offer: Offer, error: Exception, expected: Fault) -> None:
    assert offer.backend.fault(error) is expected


def test_its_surroundings_are_entered_in_the_engines_thread(offer: Offer, loaded: Any) -> None:
    found: list[Any] = []

    def engine() -> None:
        for _ in range(2):
            with offer.backend.surroundings(replace(offer.spec, threads=1)):
                found.append(offer.run(loaded, offer.payloads(loaded)[:2]))

    thread = threading.Thread(target=engine)
    thread.start()
    thread.join()
    assert len(found) == 2
    assert all(same(one, two) for one, two in zip(*found, strict=True))


# --- by kind ----------------------------------------------------------------------------------------------------------


@of(Kind.GENERATION)
def test_generation_keeps_to_its_settings(offer: Offer, loaded: Any) -> None:
    payloads = offer.payloads(loaded)
    for beams in (1, 3):
        short = offer.run(loaded, payloads, max_length=5, num_beams=beams)
        assert all(len(generated.ids) <= 4 for generated in short)
        long = offer.run(loaded, payloads, max_length=20, min_length=12, num_beams=beams)
        assert all(11 <= len(generated.ids) <= 19 for generated in long)
        assert all(generated.hit_limit == (len(generated.ids) >= 18) for generated in long if generated.hit_limit)
    repeats = offer.run(loaded, payloads, max_length=20, no_repeat_ngram_size=1)
    assert all(len(set(generated.ids)) == len(generated.ids) for generated in repeats)
    forced = offer.run(loaded, payloads, forced_bos_token_id=payloads[0][1])
    assert {generated.ids[0] for generated in forced} == {payloads[0][1]}


@of(Kind.GENERATION)
def test_generation_tells_what_the_checkpoint_wants(offer: Offer, loaded: Any) -> None:
    assert isinstance(loaded.defaults("summarization"), dict)
    assert loaded.window <= offer.spec.window
    assert loaded.limit is None or loaded.limit <= offer.spec.window
    assert loaded.codec.decode(loaded.codec.encode("It rained")).strip() == "It rained"


@of(Kind.TOKEN_SCORES)
def test_token_scores_are_distributions_without_the_special_tokens(offer: Offer, loaded: Any) -> None:
    assert list(loaded.labels) == LABELS
    payloads = offer.payloads(loaded)
    for payload, scores in zip(payloads, offer.run(loaded, payloads), strict=True):
        assert scores.shape == (len(payload) - 2, len(LABELS))
        assert scores.dtype == np.float32
        assert all(math.isclose(total, 1, abs_tol=1e-4) for total in scores.sum(axis=1))


@of(Kind.TOKEN_SCORES)
def test_tokens_have_their_places(offer: Offer, loaded: Any) -> None:
    for text in CORPUS:
        ids, offsets = loaded.codec.encode_with_offsets(text)
        assert ids == loaded.codec.encode(text)
        assert [start for start, _ in offsets] == sorted(start for start, _ in offsets)
        starts = loaded.codec.word_starts(text, ids, offsets)
        assert starts[0] == 0
        assert [text[offsets[i][0] - 1] for i in starts[1:] if offsets[i][0] and text[offsets[i][0] - 1] == " "]


@of(Kind.CONTINUATION)
def test_continuation_keeps_to_its_settings(offer: Offer, loaded: Any) -> None:
    payloads = offer.payloads(loaded)
    for beams in (1, 3):
        short = offer.run(loaded, payloads, max_length=5, num_beams=beams)
        assert all(len(generated.ids) <= 4 for generated in short)
        long = offer.run(loaded, payloads, max_length=20, min_length=12, num_beams=beams)
        assert all(11 <= len(generated.ids) <= 19 for generated in long)
    assert isinstance(loaded.defaults(), dict)


@of(Kind.SEQUENCE_SCORES)
def test_each_row_has_a_logit_for_each_label(offer: Offer, loaded: Any) -> None:
    assert list(loaded.labels) == TOPICS
    assert loaded.function == "softmax"
    assert [logits.shape for logits in offer.run(loaded, offer.payloads(loaded)[:3])] == [(3,)] * 3


@of(Kind.SPANS)
def test_each_token_may_begin_and_end_a_span(offer: Offer, loaded: Any) -> None:
    payloads = offer.payloads(loaded)
    found = offer.run(loaded, payloads)
    assert [logits.shape for logits in found] == [(2, len(payload.ids)) for payload in payloads]


@of(Kind.SEQUENCE_SCORES, Kind.SPANS)
def test_the_second_text_is_told_from_the_first(offer: Offer, loaded: Any) -> None:
    [row, *_] = offer.payloads(loaded)[1:]
    one, other = offer.run(loaded, [row, replace(row, second=None)])
    assert not np.allclose(one, other, atol=1e-3)


@of(Kind.MASKS)
def test_only_what_is_masked_is_guessed(offer: Offer, loaded: Any) -> None:
    token, mask = loaded.codec.mask
    assert loaded.codec.token(token) == mask
    none, two = offer.payloads(loaded)[0][:1], [*offer.payloads(loaded)[1], mask]
    [nothing, found] = loaded.fill([none, two], FillingSettings(4))
    assert (nothing.ids.shape, found.ids.shape, found.scores.shape) == ((0, 4), (2, 4), (2, 4))
    assert (np.diff(found.scores, axis=1) <= 0).all()
    [_, some] = loaded.fill([none, two], FillingSettings(4, (7, 9)))
    assert {*some.ids.ravel().tolist()} == {7, 9}
    whole = loaded.fill([two], FillingSettings(100_000))[0].scores
    assert np.allclose(whole.sum(axis=1), 1, atol=1e-4)


@of(Kind.VECTORS)
def test_a_row_is_a_vector_pooled_as_asked(offer: Offer, loaded: Any) -> None:
    payloads = offer.payloads(loaded)
    mean, first, most = (np.stack(offer.run(loaded, payloads, pooling=pooling)) for pooling in ("mean", "cls", "max"))
    assert mean.shape == first.shape == most.shape == (len(payloads), loaded.size)
    assert (most >= mean).all()
    assert (most >= first).all()


@of(Kind.TEXT)
def test_texts_come_back_as_they_are(offer: Offer, loaded: Any) -> None:
    texts = ["", "Olá\u2028", "a" * 100_000]
    assert list(loaded.texts(texts)) == texts


# --- the choice -------------------------------------------------------------------------------------------------------


def test_auto_takes_a_backend_that_can_and_never_a_stand_in(tmp_path: Path) -> None:
    spec = ModelSpec("m", "ner", str(tmp_path), window=64)
    assert backends.choose(spec, Kind.TOKEN_SCORES).name != "echo"
    assert backends.choose(replace(spec, backend="echo"), Kind.TOKEN_SCORES).name == "echo"


def test_what_none_can_run_is_unavailable_with_the_reasons(tmp_path: Path) -> None:
    spec = ModelSpec("m", "ner", str(tmp_path), window=64)
    with pytest.raises(ModelUnavailable, match=r"no backend can run it .*ctranslate2: .*torch: .*echo: "):
        backends.choose(spec, Kind.TEXT)
    with pytest.raises(ModelUnavailable, match="torch cannot run it: it does not compute text"):
        backends.choose(replace(spec, backend="torch"), Kind.TEXT)
    with pytest.raises(ModelUnavailable, match=r"no backend 'tpu'; there are: .*echo, .*torch"):
        backends.choose(replace(spec, backend="tpu"), Kind.TOKEN_SCORES)


def test_a_device_that_does_not_exist_is_not_replaced_by_another(tmp_path: Path) -> None:
    folder = models_from_config.save_ner("bert", tmp_path)
    with pytest.raises(ModelUnavailable, match="CUDA devices"):
        backends.get("torch").open(ModelSpec("m", "ner", str(folder), window=64, device="cuda:99"), Kind.TOKEN_SCORES)
