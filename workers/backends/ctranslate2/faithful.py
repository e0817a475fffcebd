"""Faithful generation by a search that knows no rules of words, only sequences of tokens that it may not say.

A batch is searched freely; what is faithful of its answers is taken as it is. The others' texts are searched again,
each by itself, without the tokens that no word of theirs has, and without what was wrong with the answer before, until
nothing is. What is forbidden is no more than the rule forbids, so that a greedy search comes to what torch's finds,
which looks at the rule at each step; of several beams' answers the best faithful one is taken. The exception: where a
word begins without a space (after a bracket), what may not follow its pieces may then not follow them inside of others.

Rejected: torch for all such jobs (docs/models.md has what that costs); all forbidden sequences at once, a hundred
thousand for a text; one step a call with `return_logits_vocab`, which reads the text again for each token.

Several texts a search. What is forbidden holds for all of a call, and what a beam is worth depends on what is
forbidden (it is taken out before probabilities are normalized): a text's answer would depend on its neighbours'. Greedy
it would not, but greedy answers in place of the beams' are worse: of 300 held-out descriptions, 68 were searched again,
39 of them to what torch's beams find, at a ROUGE-L of 0.323; greedy 16, at 0.290. Nor sixteen beams, freely, for all
that four have nothing for: they cost four fifths of what searching each by itself does.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import replace

from workers.checkpoint.wording import Wording
from workers.kinds import Generated

TRIES = 24
"""Searches of one text, before what its last answers begin with is taken, as far as it is faithful."""

LEAST_SECONDS, TIMES = 5.0, 2
"""How long all such searches of a batch may take: so long, or so many times as long as the free search took. They run
within the batch's deadline, and others wait for their end."""

Search = Callable[[Sequence[int], Sequence[Sequence[int]]], list[Generated]]
"""Tokens and sequences of them that may not be said -> the text's answers, best first."""


def until(started: float) -> float:
    """When the searches of a batch have to be over whose free search began then, and ends now (`time.monotonic`)."""
    now = time.monotonic()
    return now + max(LEAST_SECONDS, TIMES * (now - started))


def mended(
    answers: Sequence[Generated], wording: Wording, end: int, tokens: int, search: Search, until: float
) -> Generated:
    """A faithful answer to a text, or the longest faithful beginning of one, where there is no time for more searches.

    answers: those of the free search, best first. tokens: of the vocabulary.
    """
    forbidden: dict[tuple[int, ...], None] = {}
    single: list[int] = []
    for _ in range(TRIES):
        said = [answer.ids if answer.hit_limit else [*answer.ids, end] for answer in answers]
        for answer, ids in zip(answers, said, strict=True):
            if wording.wrong_at(ids) is None:
                return replace(answer, ids=wording.trimmed(answer.ids))
        if time.monotonic() >= until:
            break
        single = single or sorted(set(range(tokens)).difference(wording.sayable))
        forbidden.update(dict.fromkeys(tuple(wrong) for ids in said for wrong in wording.against(ids)))
        answers = search(single, list(forbidden))
    return Generated(max((wording.beginning(answer.ids) for answer in answers), key=len), hit_limit=True)
