"""Greedy and beam search with the meaning of transformers' own, for batches of items that end at different times.

`generate()` prepares everything (encoder, caches, processors) and hands over to `search`, as its `custom_generate`.
What differs from its own loops is the work, not the answer (tests/unit/backends/test_seq2seq_equality.py):

- An item whose search has ended leaves the batch, with its rows of the caches; there, every row runs to the last's end.
- The beams of an item read the same text: only the caches of self-attention follow the beams from step to step.
- Before the first step all beams are alike: it runs one row an item.
"""

from abc import ABC, abstractmethod
from typing import Any

import torch
from torch import Tensor
from transformers import GenerationConfig
from transformers.modeling_outputs import BaseModelOutput

from workers.backends.torch.faithful import Masks, settled

IMPOSSIBLE = -1e9
"""Added to scores that must not be chosen; transformers' own number."""

LEAVE_SHARE = 8
"""Finished items leave when they are so large a part of the batch (an eighth): leaving copies the others' caches."""

_NEEDS_THE_WHOLE_BATCH: dict[str, tuple[Any, ...]] = {
    "guidance_scale": (None, 1, 1.0),
    "encoder_repetition_penalty": (None, 1, 1.0),
    "encoder_no_repeat_ngram_size": (None, 0),
    "watermarking_config": (None,),
    "max_time": (None,),
    "stop_strings": (None,),
    "prompt_lookup_num_tokens": (None,),
    "penalty_alpha": (None, 0, 0.0),
    "dola_layers": (None,),
    "num_beam_groups": (None, 1),
    "constraints": (None,),
    "force_words_ids": (None,),
    "cache_implementation": (None,),
    "prefill_chunk_size": (None,),
    "low_memory": (None, False),
    "token_healing": (None, False),
    "use_cache": (None, True),
    "do_sample": (None, False),
}
"""Settings, with their neutral values, whose processors keep the rows of the batch, or that ask for another search."""


def supports(config: GenerationConfig) -> bool:
    """Whether `search` knows all that the configuration asks for; otherwise `generate()` does it itself."""
    has_an_end = config.eos_token_id is not None
    return has_an_end and all(getattr(config, name, None) in known for name, known in _NEEDS_THE_WHOLE_BATCH.items())


def search(
    model: Any,
    input_ids: Tensor,
    logits_processor: Any,
    stopping_criteria: Any,
    generation_config: Any,
    masks: Masks | None = None,
    **model_kwargs: Any,
) -> Tensor:
    """For `generate(custom_generate=search)`: input_ids (items x beams, start) -> ids (items, max_length).

    A row is the start, the tokens, the end, and padding; without an end it is full. `stopping_criteria` says no more
    than the configuration does (`supports`): the end token and the length. masks: what may be said of each item.
    """
    kind = Beams if generation_config.num_beams > 1 else Greedy
    return kind(model, input_ids, logits_processor, generation_config, model_kwargs, masks).run()


class Search(ABC):
    """The items that are still in the batch, and the answers of those that have left."""

    def __init__(
        self,
        model: Any,
        input_ids: Tensor,
        processors: Any,
        config: Any,
        inputs: dict[str, Any],
        masks: Masks | None = None,
    ) -> None:
        self.masks = masks
        self.model, self.processors, self.config, self.inputs = model, processors, config, inputs
        self.beams: int = config.num_beams
        self.capacity: int = config.max_length
        self.start = self.length = input_ids.shape[1]
        items = len(input_ids) // self.beams
        self.ends: Tensor = config._eos_token_tensor.to(input_ids.device)
        self.pad = int(config._pad_token_tensor)
        self.ids = input_ids.new_full((items, self.beams, self.capacity), self.pad)
        self.ids[:, :, : self.length] = input_ids.view(items, self.beams, -1)
        self.answers = self.ids[:, 0].clone()
        self.members = torch.arange(items, device=input_ids.device)
        """Which item each place of the batch holds."""

    def run(self) -> Tensor:
        """Search to the end of every item -> (items, max_length)."""
        logits = self._first_step()
        while True:
            ended = self._advance(logits)
            if self.length >= self.capacity or ended.all():
                self.answers[self.members] = self._best()
                return self.answers
            if int(ended.sum()) * LEAVE_SHARE >= len(ended):
                self._leave(ended)
            logits = self._step()

    @abstractmethod
    def _advance(self, logits: Tensor) -> Tensor:
        """Choose the next tokens by the logits (rows, vocabulary) -> which items have ended, (items,)."""

    @abstractmethod
    def _best(self) -> Tensor:
        """The answers as far as they are known, (items, max_length)."""

    @abstractmethod
    def _select(self, items: Tensor) -> None:
        """Keep the state of these items alone."""

    def _process(self, rows: Tensor, scores: Tensor) -> Tensor:
        """The scores, (rows, vocabulary), after what the settings want of them; rows: the tokens so far."""
        if self.masks is not None:
            items = self.members.repeat_interleave(self.beams).tolist()
            scores = self.masks.open(items, rows, scores)
        processed: Tensor = self.processors(rows, scores)
        return processed if self.masks is None else settled(scores, processed)

    def _reorder(self, rows: Tensor) -> None:
        """Each row of the caches is that of another row now. The beams of an item share what is of its text."""
        self.inputs["past_key_values"].self_attention_cache.reorder_cache(rows)

    def _first_step(self) -> Tensor:
        rows = slice(None, None, self.beams)
        self._keep_inputs(rows)
        logits = self._forward(self.ids[:, 0, : self.length], next_sequence_length=None)
        if self.beams > 1:
            every = torch.arange(len(self.ids), device=logits.device).repeat_interleave(self.beams)
            self._keep_inputs(every)
            self.inputs["past_key_values"].batch_select_indices(every)
            logits = logits[every]
        return logits

    def _step(self) -> Tensor:
        return self._forward(self.ids[:, :, : self.length].flatten(0, 1), next_sequence_length=1)

    def _forward(self, ids: Tensor, next_sequence_length: int | None) -> Tensor:
        """One pass of the decoder over the newest token of each row -> its logits in float32, (rows, vocabulary)."""
        prepared = self.model.prepare_inputs_for_generation(
            ids, next_sequence_length=next_sequence_length, **self.inputs
        )
        output = self.model(**prepared, return_dict=True)
        self.inputs["past_key_values"] = output.past_key_values
        return output.logits[:, -1].to(copy=True, dtype=torch.float32)  # type: ignore[no-any-return]

    def _leave(self, ended: Tensor) -> None:
        self.answers[self.members[ended]] = self._best()[ended]
        items = (~ended).nonzero()[:, 0]
        self._select(items)
        self.members, self.ids = self.members[items], self.ids[items]
        rows = (items[:, None] * self.beams + torch.arange(self.beams, device=items.device)).flatten()
        self._keep_inputs(rows)
        self.inputs["past_key_values"].batch_select_indices(rows)

    def _keep_inputs(self, rows: Any) -> None:
        self.inputs["encoder_outputs"] = BaseModelOutput(self.inputs["encoder_outputs"].last_hidden_state[rows])
        self.inputs["attention_mask"] = self.inputs["attention_mask"][rows]


class Greedy(Search):
    """The likeliest token at each step."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.ended = torch.zeros(len(self.ids), dtype=torch.bool, device=self.ids.device)

    def _advance(self, logits: Tensor) -> Tensor:
        tokens = self._choose(self._process(self.ids[:, 0, : self.length], logits))
        self.ids[:, 0, self.length] = tokens.masked_fill(self.ended, self.pad)
        self.length += 1
        self.ended |= torch.isin(tokens, self.ends)
        return self.ended

    def _choose(self, scores: Tensor) -> Tensor:
        return scores.argmax(-1)

    def _best(self) -> Tensor:
        return self.ids[:, 0]

    def _select(self, items: Tensor) -> None:
        self.ended = self.ended[items]


class Beams(Search):
    """The likeliest sequences, as many at a time as there are beams.

    After `GenerationMixin._beam_search`, whose rules these are: candidates are the best of all continuations of an
    item's beams; those that end are scored by their length and kept with the best that ended before; the best that do
    not end go on. An item is over when none of those can still become better than the worst that is kept.
    """

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        items, device = len(self.ids), self.ids.device
        self.early = self.config.early_stopping
        self.penalty: float = self.config.length_penalty
        self.candidates = max(2, 1 + len(self.ends)) * self.beams
        self.is_first = torch.arange(self.candidates, device=device) < self.beams
        """Only the candidates among the first `beams` may end: the others are there to go on in their place."""
        # The beams are alike at first: all but one are out of the running, or each token would be chosen several times.
        self.scores = torch.full((items, self.beams), IMPOSSIBLE, device=device)
        self.scores[:, 0] = 0
        self.kept_ids = self.ids.clone()
        self.kept_scores = torch.full((items, self.beams), IMPOSSIBLE, device=device)
        self.is_kept = torch.zeros((items, self.beams), dtype=torch.bool, device=device)
        self.improvable = torch.ones((items, 1), dtype=torch.bool, device=device)

    def _advance(self, logits: Tensor) -> Tensor:
        scores, ids, parents = self._candidates(logits)
        ends = torch.isin(ids[:, :, self.length], self.ends) | (self.length + 1 >= self.capacity)
        self._keep(scores, ids, ends & self.is_first)
        self._go_on(scores + ends * IMPOSSIBLE, ids, parents)
        self.length += 1
        return self._over()

    def _candidates(self, logits: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The best continuations of each item: scores, ids, and the beam that each comes from; (items, candidates)."""
        rows = self.ids[:, :, : self.length].flatten(0, 1)
        processed = self._process(rows, logits.log_softmax(-1))
        vocabulary = processed.shape[-1]
        scores = processed.view(-1, self.beams, vocabulary) + self.scores[:, :, None]
        best, places = scores.flatten(1).topk(self.candidates)
        parents = places // vocabulary
        ids = _pick(self.ids, parents)
        ids[:, :, self.length] = places % vocabulary
        return best, ids, parents

    def _keep(self, scores: Tensor, ids: Tensor, ends: Tensor) -> None:
        """Put those that end among the best that have ended."""
        is_full = self.is_kept.all(1, keepdim=True) & (self.early is True)
        scores = scores / ((self.length + 1 - self.start) ** self.penalty)
        scores = scores + is_full * IMPOSSIBLE + ~self.improvable * IMPOSSIBLE + ~ends * IMPOSSIBLE
        scores = torch.cat((self.kept_scores, scores), 1)
        best = scores.topk(self.beams).indices
        self.kept_scores = scores.gather(1, best)
        self.kept_ids = _pick(torch.cat((self.kept_ids, ids), 1), best)
        self.is_kept = torch.cat((self.is_kept, ends), 1).gather(1, best)

    def _go_on(self, scores: Tensor, ids: Tensor, parents: Tensor) -> None:
        """The best that do not end are the next step's beams; the caches follow them."""
        best = scores.topk(self.beams).indices
        self.scores, self.ids = scores.gather(1, best), _pick(ids, best)
        first = torch.arange(len(ids), device=ids.device)[:, None] * self.beams
        rows = (first + parents.gather(1, best)).flatten()
        self._reorder(rows)

    def _over(self) -> Tensor:
        to_the_end = self.early == "never" and self.penalty > 0
        length = (self.capacity if to_the_end else self.length) - self.start
        possible = self.scores[:, :1] / (length**self.penalty)
        worst = torch.where(self.is_kept, self.kept_scores.amin(1, keepdim=True), IMPOSSIBLE)
        self.improvable &= (possible > worst).any(1, keepdim=True)
        over = ~self.improvable[:, 0]
        return over | self.is_kept.all(1) if self.early is True else over

    def _best(self) -> Tensor:
        return self.kept_ids[:, 0]

    def _select(self, items: Tensor) -> None:
        for name in ("scores", "kept_ids", "kept_scores", "is_kept", "improvable"):
            setattr(self, name, getattr(self, name)[items])


def _pick(ids: Tensor, which: Tensor) -> Tensor:
    """(items, from, length) at (items, to) -> (items, to, length)"""
    return ids.gather(1, which[:, :, None].expand(-1, -1, ids.shape[2]))
