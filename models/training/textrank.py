"""TextRank (Mihalcea and Tarau 2004): the sentence that the others of its text vote for. What a summary has to beat."""

import math
from collections.abc import Sequence

import numpy as np

from workers.text import faithful

DAMPING, ROUNDS = 0.85, 50


def likeness(one: Sequence[str], other: Sequence[str]) -> float:
    """Different words in common over the logarithms of the sentences' lengths; 0 where one has a single word."""
    common = len(set(one) & set(other))
    return common / (math.log(len(one)) + math.log(len(other))) if common and len(one) > 1 < len(other) else 0.0


def best(sentences: Sequence[str]) -> int:
    """The number of the sentence with the highest rank, the earliest of equals. Raises ValueError for no sentence."""
    words = [faithful.words(sentence.lower()) for sentence in sentences]
    size = len(sentences)
    weights = np.zeros((size, size))
    for i in range(size):
        for j in range(i):
            weights[i, j] = weights[j, i] = likeness(words[i], words[j])
    votes = weights.sum(axis=0)
    # Whoever is like nobody votes for all alike, as in PageRank.
    moves = np.where(votes > 0, weights / np.where(votes > 0, votes, 1), 1 / max(size, 1))
    rank = np.full(size, 1 / max(size, 1))
    for _ in range(ROUNDS):
        rank = (1 - DAMPING) / size + DAMPING * moves @ rank
    return int(np.argmax(np.round(rank, 9)))
