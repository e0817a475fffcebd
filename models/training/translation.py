"""English to Brazilian Portuguese: Mozilla's student as a `MarianMTModel`, its recurrence distilled away."""

import argparse
import json
from collections.abc import Iterator, Sequence
from pathlib import Path

import sacrebleu
import sentencepiece as spm
import torch
from torch import Tensor, nn
from torch.nn import functional
from tqdm import tqdm

from models.training import debian, loop, mozilla, shipped, vocabulary

MODEL = shipped.MODELS / "translation-en-pt-small"
TEST = "translation_test.jsonl.gz"
GENERATION = {"num_beams": 4, "max_length": 256, "early_stopping": True, "length_penalty": 1.0}
VOCABULARY = 10_500
PRIOR = 5e6
"""Pieces of general text that the choice of the vocabulary adds to Debian's."""
COMMON, RANDOM = 400, 1000
"""Pieces in every step's softmax beside the batch's own: Mozilla's most frequent ones, and ones drawn at random."""
PHASES = {"decoder": 0.5, "whole": 0.5, "words": 0.85}
"""Each phase's weight of people's translations against the teacher's distribution, where both are known."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    loop.add_common_arguments(parser)
    parser.add_argument("--epochs", type=int, default=3, help="of the first phase, which trains the decoder")
    parser.add_argument("--whole-epochs", type=int, default=1, help="of the other two, which train the whole model")
    parser.add_argument("--distilled", type=int, default=0, help="sentences for the teacher to translate")


class Distillation(nn.Module):
    """The student and its teacher, whose encoder and embeddings it has and keeps as they are."""

    def __init__(self, teacher: mozilla.Teacher) -> None:
        super().__init__()
        self.teacher = teacher
        self.student = teacher.student().requires_grad_(False).train()
        self.decoder = self.student.model.decoder
        self.decoder.layers.requires_grad_(True)
        self.thawed = False
        self.human_weight = 0.0
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
        """Cross-entropy to the teacher's distribution and to people's words, and the distance of the layers' states."""
        memory, wanted = self.lesson(batch)
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
        distilled = -(functional.linear(wanted[-1], weight, bias).softmax(-1) * scores).sum(-1)
        human = functional.nll_loss(scores, labels, reduction="none")
        share = self.human_weight * batch.genuine[:, None].expand_as(real)[real]
        distance = sum(functional.mse_loss(mine, goal) for mine, goal in zip(states, wanted, strict=True))
        return ((1 - share) * distilled + share * human).mean() + distance

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


def distil(
    teacher: mozilla.Teacher, tokenizer: spm.SentencePieceProcessor, sentences: Sequence[str], path: Path
) -> None:
    """Append the teacher's translations to `path` as JSON lines of piece ids, after those that it holds already."""
    done = len(path.read_text().splitlines()) if path.exists() else 0
    block = 512
    with path.open("a") as lines, tqdm(total=len(sentences), initial=done, desc="teacher", mininterval=10) as bar:
        for at in range(done, len(sentences), block):
            sources = [[*tokenizer.encode(s), mozilla.EOS] for s in sentences[at : at + block]]
            translated: dict[int, list[int]] = {}
            order = sorted(range(len(sources)), key=lambda i: len(sources[i]))
            for part in (order[i : i + 128] for i in range(0, len(order), 128)):
                ids = loop.pad([sources[i] for i in part], len(teacher.pieces))
                translated |= zip(part, teacher.translate(ids, (ids != len(teacher.pieces)).long()), strict=True)
            for i, source in enumerate(sources):
                lines.write(json.dumps([source, [*translated[i], mozilla.EOS]]) + "\n")
            lines.flush()
            bar.update(len(sources))


def genuine_examples(tokenizer: spm.SentencePieceProcessor, pairs: Sequence[tuple[str, str]]) -> Iterator[loop.Example]:
    """People's translations; those with a character that the vocabulary lacks are left out."""
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
    teacher = mozilla.Teacher(pieces)
    distil(teacher, tokenizer, debian.training_sentences(lists)[: args.distilled], work / "distilled.jsonl")
    pairs = (json.loads(line) for line in (work / "distilled.jsonl").read_text().splitlines())
    examples = [loop.Example(s, t, genuine=False) for s, t in pairs if max(len(s), len(t)) < 120]
    examples += genuine_examples(tokenizer, debian.human_pairs(lists, held_out=False))
    distillation = Distillation(teacher)
    for name, weight in PHASES.items():
        (work / name).mkdir(exist_ok=True)
        distillation.human_weight = weight
        if name != "decoder":
            distillation.thaw()
        epochs = args.epochs if name == "decoder" else args.whole_epochs
        plan = loop.Plan(epochs=epochs, tokens=1200, warmup=100, checkpoint_every=100)
        student, groups = distillation.student, distillation.groups()
        loop.fit(student, groups, examples, distillation.loss, plan, len(pieces), work / name)
    shipped.save(distillation.student, work / "model", MODEL, GENERATION)
    shipped.write_test(TEST, debian.test_pairs(lists))
    print(evaluate(MODEL))


def evaluate(model_dir: Path, limit: int | None = None) -> dict[str, float | int]:
    """BLEU and chrF against people's translations, segment by segment."""
    pairs = shipped.read_test(TEST, limit)
    outputs = shipped.generate(model_dir, [english for english, _ in pairs])
    references = [[portuguese for _, portuguese in pairs]]
    return {
        "segments": len(pairs),
        "BLEU": sacrebleu.corpus_bleu(outputs, references).score,
        "chrF": sacrebleu.corpus_chrf(outputs, references).score,
        "outputs with an unknown sign": shipped.unknown_signs(outputs),
    }
