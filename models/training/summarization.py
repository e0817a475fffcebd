"""English text to a one-sentence summary, from Debian's descriptions and synopses and the translation model's weights.

Three layers of Mozilla's encoder and its embeddings know English already; the decoder has to learn to write it.
Training goes in phases: first above a frozen part whose outputs are computed once, then the whole model. The last one,
`--wide`, goes on from the shipped weights, with manual pages and prose besides.
"""

import argparse
import math
import random
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import sentencepiece as spm
import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import MarianConfig, MarianMTModel

from models.training import debian, loop, mozilla, shipped, vocabulary
from models.training import summarization_data as data
from models.training.summarization_figures import TEST, evaluate

MODEL = shipped.MODELS / "summarization-en-small"
TEST_SIZE = 1000
GENERATION = {
    "num_beams": 4,
    "max_length": 48,
    "early_stopping": True,
    "length_penalty": 1.0,
    "no_repeat_ngram_size": 4,
}
VOCABULARY = 7_600
LAYERS, FROZEN = 3, 2
"""Encoder layers that are kept, the lowest ones, and those of them that the first phase leaves alone."""


@dataclass(frozen=True)
class Phase:
    """Part of the training. `limit`: pieces of a description that it reads."""

    rate: float
    limit: int


PHASES = {"upper": Phase(5e-4, 80), "whole": Phase(2e-4, 80), "long": Phase(4e-4, 200), "longer": Phase(3e-4, 200)}
"""Half of the descriptions fit into 80 pieces, and a synopsis rests on the start; the last phases see what longer texts
look like. Their rates are higher: after the second, the loss was still falling as fast as the rate allowed."""
SMOOTHING = 0.05
WIDE = Phase(3e-4, 256)
COPIES = {"descriptions": 1, "manuals": 2, "catalogue": 2, "gaps": 1}
"""How often an epoch of `WIDE` has each kind of pair."""
LONGEST = 46
"""Pieces of a target: what fits into the generation's 48 tokens with the start and the end."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    loop.add_common_arguments(parser)
    parser.add_argument("--epochs", type=int, default=2, help="of the first phase")
    parser.add_argument("--whole-epochs", type=int, default=1, help="of each of the others")
    parser.add_argument("--wide", action="store_true", help="the last phase alone, from the shipped weights")
    parser.add_argument("--steps", type=int, default=8_000, help="of the last phase, that its learning rate falls over")
    parser.add_argument("--minutes", type=float, help="of the last phase, where they are over before the steps")
    parser.add_argument("--export", type=Path, metavar="FOLDER", help="write the last phase's newest checkpoint there")


class Summarizer(nn.Module):
    """The model in training; while `frozen`, the outputs of its lowest layers are kept for the next epochs."""

    def __init__(self, model: MarianMTModel) -> None:
        super().__init__()
        self.model = model.train()
        self.encoder, self.decoder = model.model.encoder, model.model.decoder
        self.lower: dict[int, Tensor] = {}
        self.frozen = False

    def freeze(self, frozen: bool) -> None:
        self.frozen = frozen
        self.requires_grad_(True)
        for part in (self.encoder.embed_positions, self.decoder.embed_positions):
            part.requires_grad_(False)
        if frozen:
            self.model.model.shared.requires_grad_(False)
            self.encoder.layers[:FROZEN].requires_grad_(False)

    def groups(self, rate: float) -> list[dict[str, object]]:
        return [{"params": [p for p in self.parameters() if p.requires_grad], "lr": rate}]

    def loss(self, batch: loop.Batch) -> Tensor:
        """Cross-entropy to the synopsis, with label smoothing."""
        output = self.decoder(
            input_ids=batch.inputs,
            encoder_hidden_states=self._encode(batch),
            encoder_attention_mask=batch.mask,
            use_cache=False,
        )
        real = batch.labels != -100
        logits = self.model.lm_head(output.last_hidden_state[real]) + self.model.final_logits_bias
        # Smoothed over what the model may write: over the forbidden tokens the loss would be enormous.
        scores = logits.log_softmax(-1)
        allowed = self.model.final_logits_bias[0] > mozilla.NEVER
        return (1 - SMOOTHING) * functional.nll_loss(scores, batch.labels[real]) - SMOOTHING * scores[:, allowed].mean()

    def _encode(self, batch: loop.Batch) -> Tensor:
        if not self.frozen:
            return self.encoder(input_ids=batch.source, attention_mask=batch.mask).last_hidden_state
        visible = batch.mask[:, None, None].bool()
        if batch.number not in self.lower:
            with torch.no_grad():
                state = self.encoder.embed_tokens(batch.source) * self.encoder.embed_scale
                state = state + self.encoder.embed_positions(batch.source.shape)
                for layer in self.encoder.layers[:FROZEN].eval():
                    state = layer(state, visible)
            self.lower[batch.number] = state.half()
        state = self.lower[batch.number].float()
        for layer in self.encoder.layers[FROZEN:]:
            state = layer(state, visible)
        return state


def start(pieces: list[int], counts: Counter[int], decoder: Path) -> MarianMTModel:
    """Mozilla's embeddings and lowest encoder layers, and the translation student's decoder."""
    whole = mozilla.transplant(mozilla.read_tensors(mozilla.model_dir() / mozilla.WEIGHTS), torch.tensor(pieces))
    model = MarianMTModel(MarianConfig.from_dict(whole.config.to_dict() | {"encoder_layers": LAYERS}))
    missing, unexpected = model.load_state_dict(whole.state_dict(), strict=False)
    if missing or any(f"encoder.layers.{n}." in name for name in unexpected for n in range(LAYERS)):
        raise ValueError(f"weights without a place: {missing} {unexpected}")
    prefix = "model.decoder.layers."
    saved = torch.load(decoder)["model"].items()
    model.model.decoder.layers.load_state_dict({k.removeprefix(prefix): v for k, v in saved if k.startswith(prefix)})
    # Mozilla's output bias is Portuguese's; here it is the frequency of the pieces in synopses, about a mean of zero.
    bias = torch.tensor([math.log(counts[i] + 1.0) for i in range(len(pieces) + 1)])
    bias -= bias.mean()
    bias[[mozilla.UNK, len(pieces)]] = mozilla.NEVER
    model.final_logits_bias.copy_(bias)
    return model


def examples(tokenizer: spm.SentencePieceProcessor, pairs: Sequence[tuple[str, str]], limit: int) -> list[loop.Example]:
    """Piece ids, at most `limit` of a description. Pairs whose synopsis the pieces cannot spell are left out."""
    found = []
    for description, synopsis in pairs:
        source, target = tokenizer.encode(description), tokenizer.encode(synopsis)
        if mozilla.UNK not in target:
            found.append(loop.Example([*source[: limit - 1], mozilla.EOS], [*target, mozilla.EOS]))
    return found


def prepare_tokenizer(pairs: Sequence[tuple[str, str]], folder: Path) -> list[int]:
    """Choose the vocabulary from descriptions and synopses (counted five times), write it -> the kept ids."""
    model = mozilla.model_dir() / mozilla.VOCABULARY
    counts = vocabulary.count_pieces(model, (text for text, _ in pairs))
    for piece, count in vocabulary.count_pieces(model, (synopsis for _, synopsis in pairs)).items():
        counts[piece] += 5 * count
    keep = vocabulary.choose(model, counts, VOCABULARY, prior=0)
    vocabulary.write_tokenizer(model, keep, folder)
    return keep


def wide_examples(
    tokenizer: spm.SentencePieceProcessor, pairs: Mapping[str, Sequence[tuple[str, str]]], limit: int
) -> list[loop.Example]:
    """The last phase's mixture. Left out: what can't be said in `LONGEST` pieces, and a sentence to copy that is not
    within the first `limit` pieces of its text."""
    found = []
    for kind, some in pairs.items():
        for text, said in some:
            source, target = tokenizer.encode(text), tokenizer.encode(said)
            source = [*source[: limit - 1], mozilla.EOS]
            if mozilla.UNK in target or len(target) > LONGEST:
                continue
            if kind == "gaps" and len(source) == limit and said not in tokenizer.decode(source):
                continue
            found += [loop.Example(source, [*target, mozilla.EOS])] * COPIES[kind]
    return found


def train_wide(args: argparse.Namespace, work: Path) -> None:
    """Go on from the shipped weights with all kinds of pairs; resumes from its newest checkpoint."""
    tokenizer = spm.SentencePieceProcessor(str(MODEL / "source.spm"))
    found = wide_examples(tokenizer, data.pairs(args.work), WIDE.limit)
    summarizer = Summarizer(MarianMTModel.from_pretrained(MODEL, dtype=torch.float32))
    summarizer.freeze(False)
    work.mkdir(parents=True, exist_ok=True)
    tokens = sum(len(example.source) for example in found)
    print(f"{len(found)} examples, {tokens} pieces", flush=True)
    plan = loop.Plan(epochs=1 + args.steps * 2400 // tokens, tokens=2400, steps=args.steps, minutes=args.minutes)
    pad = tokenizer.get_piece_size()
    loop.fit(summarizer, summarizer.groups(WIDE.rate), found, summarizer.loss, plan, pad, work)


def export(checkpoint: Path, folder: Path) -> None:
    """Write the shipped form of a checkpoint: of the shipped model, with other weights."""
    summarizer = Summarizer(MarianMTModel.from_pretrained(MODEL, dtype=torch.float32))
    summarizer.load_state_dict(torch.load(checkpoint)["model"])
    folder.mkdir(parents=True, exist_ok=True)
    shipped.save(summarizer.model, MODEL, folder, GENERATION)


def main(args: argparse.Namespace) -> None:
    torch.set_num_threads(args.threads)
    work: Path = args.work / "summarization"
    if args.export:
        return export(work / "wide" / "checkpoint.pt", args.export)
    if args.wide:
        return train_wide(args, work / "wide")
    lists = debian.fetch_indexes(args.work)
    pairs = debian.summary_pairs(lists, held_out=False)
    pieces = prepare_tokenizer(pairs, work / "model")
    tokenizer = spm.SentencePieceProcessor(str(work / "model" / "source.spm"))
    targets = Counter(piece for e in examples(tokenizer, pairs, limit=80) for piece in e.target)
    translation = args.work / "translation" / "decoder" / "checkpoint.pt"
    if not translation.exists():
        raise SystemExit(f"{translation} is missing: train the translation model first, its decoder is the start")
    summarizer = Summarizer(start(pieces, targets, translation))
    for name, phase in PHASES.items():
        summarizer.freeze(name == "upper")
        (work / name).mkdir(parents=True, exist_ok=True)
        plan = loop.Plan(epochs=args.epochs if name == "upper" else args.whole_epochs, tokens=2400)
        found = examples(tokenizer, pairs, phase.limit)
        loop.fit(summarizer, summarizer.groups(phase.rate), found, summarizer.loss, plan, len(pieces), work / name)
    shipped.save(summarizer.model, work / "model", MODEL, GENERATION)
    test = debian.summary_pairs(lists, held_out=True)
    shipped.write_test(TEST, random.Random(3).sample(test, TEST_SIZE))
    print(evaluate(MODEL))
