"""The last phase of the entity model's training: what it makes of the sentences that people marked."""

import random
from pathlib import Path

import torch
from tokenizers import Tokenizer
from transformers import BertConfig, BertForTokenClassification

from models.training import ner_sentences
from models.training.ner_figures import MODEL, Chunk, spans_only
from models.training.ner_last import Pools, cased, deal, joined
from models.training.ner_loop import Plan, fit
from models.training.ner_student import LABELS, SPECIAL, WINDOW


def chunk(line: str) -> Chunk:
    text, spans = ner_sentences.parse(line)
    return {"source": "sentences", "text": text, "spans": spans}


def named(chunk: Chunk) -> list[tuple[str, str]]:
    return [(chunk["text"][start:end], kind) for start, end, kind in chunk["spans"]]


LINES = (
    "[PER Ana Sá] left [LOC Faro] for the [LOC Azores]; [PER Sá] never came back to [LOC Faro].",
    "[PER Li Wei] of [ORG Acme] met a [MISC Kenyan] envoy and two [MISC Danes] in [LOC Oslo].",
    "The [ORG Senate] heard [PER Omar Diallo], who wrote [MISC Dune] in [MISC Python].",
    "Nobody came.",
)


def drawn(slot: str, rng: random.Random) -> str:
    return {"PER": "Zed Zulu", "FIRST": "Zed", "LAST": "Zulu"}[slot]


def test_other_names_stand_in_the_same_frame_and_are_of_the_same_kind() -> None:
    chunks = [chunk(line) for line in LINES]
    pools, rng = Pools(chunks), random.Random(1)
    known = {kind: {*pools.of(kind)} for kind in ("PER", "ORG", "LOC", "MISC")}
    known["PER"] |= {"Zed Zulu", "Zed", "Zulu"} | {part for name in known["PER"] for part in name.split()}
    changed = 0
    for old in chunks * 20:
        new = pools.swapped(old, drawn, rng)
        assert [kind for _, kind in named(new)] == [kind for _, kind in named(old)]
        assert all(name in known[kind] for name, kind in named(new))
        assert frame(new) == frame(old)
        changed += new["text"] != old["text"]
    assert changed > 20


def frame(chunk: Chunk) -> str:
    text = chunk["text"]
    for start, end, _ in reversed(chunk["spans"]):
        text = text[:start] + "_" + text[end:]
    return str(text)


def test_who_is_named_twice_is_the_same_person_afterwards() -> None:
    chunks = [chunk(line) for line in LINES]
    pools = Pools(chunks)
    for seed in range(30):
        (whole, _), (first, _), _, (family, _), (second, _) = named(
            pools.swapped(chunks[0], drawn, random.Random(seed))
        )
        assert whole.split()[-1] == family
        assert first == second


def test_a_people_gives_way_to_a_people() -> None:
    lines = ["A [MISC Kenyan] envoy.", "A [MISC Danish] envoy.", "A [MISC Python] script.", "The [MISC Kenyans] won."]
    pools = Pools([chunk(line) for line in lines])
    found = {named(pools.swapped(chunk(lines[0]), drawn, random.Random(seed)))[0][0] for seed in range(40)}
    assert found == {"Kenyan", "Danish"}


def test_sentences_run_together_keep_every_name() -> None:
    chunks = [chunk(line) for line in LINES] * 10
    texts = joined(chunks, random.Random(2))
    assert len(texts) < len(chunks)
    assert [name for text in texts for name in named(text)] == [name for one in chunks for name in named(one)]


def test_shouted_and_whispered_texts_keep_the_places_of_their_names() -> None:
    old = chunk("[PER Weiß] and [PER İnan] met [PER Ana Sá].")
    rng = random.Random(3)
    texts = {cased(old, rng)["text"] for _ in range(300)} | {cased(chunk(LINES[0]), rng)["text"] for _ in range(300)}
    assert old["text"].upper() not in texts  # ß is two letters then, and the places would not hold
    assert {chunk(LINES[0])["text"], chunk(LINES[0])["text"].upper(), chunk(LINES[0])["text"].lower()} <= texts


def test_validation_is_a_small_part_of_its_own_and_stays_when_sentences_are_added() -> None:
    sentences = list(ner_sentences.read())
    learnt, validation = deal(sentences)
    assert len(learnt) + len(validation) == len(sentences)
    assert len(sentences) / 20 < len(validation) < len(sentences) / 8
    assert deal(sentences[:500])[1] == validation[: len(deal(sentences[:500])[1])]


def test_training_learns_and_goes_on_where_it_was_stopped(tmp_path: Path) -> None:
    tokenizer = Tokenizer.from_file(str(MODEL / "tokenizer.json"))
    chunks = [chunk(line) | {"part": "p"} for line in LINES] * 32
    plan = Plan(lessons=8, lr=1e-2, budget=256, masked=0.05)
    state = tmp_path / "state.pt"

    def tiny() -> BertForTokenClassification:
        torch.manual_seed(1)
        config = BertConfig(
            vocab_size=tokenizer.get_vocab_size(), hidden_size=64, num_hidden_layers=1, num_attention_heads=2,
            initializer_range=0.1, intermediate_size=64, max_position_embeddings=WINDOW, num_labels=len(LABELS),
        )  # fmt: skip
        return BertForTokenClassification(config)

    lessons: list[int] = []
    training = fit(tiny(), tokenizer, lambda n: lessons.append(n) or chunks, chunks, plan, state)
    next(training), next(training)
    training.close()
    scores = list(fit(tiny(), tokenizer, lambda n: lessons.append(n) or chunks, chunks, plan, state))
    assert lessons == list(range(8))
    assert scores[-1]["p"]["f1"] > 0.8
    assert list(fit(tiny(), tokenizer, lambda n: chunks, chunks, plan, state)) == []


def test_hidden_pieces_are_never_the_marks_of_the_text() -> None:
    from models.training.ner_loop import _masked

    ids = torch.tensor([[2, 100, 200, 3, 0]])
    hidden = _masked(ids, Plan(1, 0.1, 1, masked=1.0))
    assert hidden.tolist() == [[2, SPECIAL.index("[MASK]"), SPECIAL.index("[MASK]"), 3, 0]]


def test_places_alone_count_whatever_the_kinds() -> None:
    one = chunk("[PER Ana] left [LOC Faro].") | {"part": "p"}
    scores = spans_only([one], [[(0, 3, "LOC"), (9, 13, "LOC"), (0, 8, "PER")]], "spans only")
    assert scores == {"spans only": {"precision": 0.667, "recall": 1.0, "f1": 0.8, "entities": 2}}
