"""Faithful generation by a search that knows no rules of words, only sequences of tokens that it may not say.

A batch is searched freely; what is faithful of its answers is taken as it is. The others' texts are searched again,
each by itself, without the tokens that no word of theirs has, and without what was wrong with the answer before, until
nothing is. What is forbidden is no more than the rule forbids, so that a greedy search comes to what torch's finds,
which looks at the rule at each step; of several beams' answers the best faithful one is taken. The exception: where a
word begins without a space (after a bracket), what may not follow its pieces may then not follow them inside of others.

Rejected: torch for all such jobs (docs/models.md has what that costs); all forbidden sequences at once, a hundred
thousand for a text; one step a call with `return_logits_vocab`, which reads the text again for each token.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace

from workers.checkpoint.wording import Wording
from workers.kinds import Generated

TRIES = 24
"""Searches of one text, before what its last answer begins with is taken, as far as it is faithful."""

Search = Callable[[Sequence[Sequence[int]]], list[Generated]]
"""Sequences that may not be said -> the text's answers, best first."""


def mended(answers: Sequence[Generated], wording: Wording, end: int, tokens: int, search: Search) -> Generated:
    """A faithful answer to a text. answers: those of the free search, best first. tokens: of the vocabulary."""
    forbidden: dict[tuple[int, ...], None] = {}
    for _ in range(TRIES):
        for answer in answers:
            wrong = wording.against(answer.ids if answer.hit_limit else [*answer.ids, end])
            if not wrong:
                return replace(answer, ids=wording.trimmed(answer.ids))
            forbidden.update(dict.fromkeys(map(tuple, wrong)))
        single = [(token,) for token in range(tokens) if token not in wording.sayable]
        answers = search([*single, *forbidden])
    return Generated(wording.beginning(answers[0].ids), hit_limit=True)
