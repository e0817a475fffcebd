"""How documents are cut into shards: a table over sizes in characters."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from store.sharding import cut


@pytest.mark.parametrize(
    ("sizes", "max_characters", "max_documents", "ranges"),
    [
        ([], 10, 3, []),
        ([(0, 4)], 10, 3, [(0, 0)]),
        ([(0, 5), (1, 5)], 10, 3, [(0, 1)]),  # full to the character
        ([(0, 5), (1, 6)], 10, 3, [(0, 0), (1, 1)]),
        ([(0, 1), (1, 1), (2, 1), (3, 1)], 10, 3, [(0, 2), (3, 3)]),
        ([(0, 30), (1, 1)], 10, 3, [(0, 0), (1, 1)]),  # too large for any shard: one of its own
        ([(0, 1), (1, 30), (2, 1)], 10, 3, [(0, 0), (1, 1), (2, 2)]),
        ([(0, 0), (1, 0), (2, 0)], 10, 2, [(0, 1), (2, 2)]),  # empty texts count as documents
        ([(7, 1), (8, 1)], 10, 3, [(7, 8)]),  # appended: positions go on
        ([(2, 1), (5, 1), (9, 6), (30, 6)], 10, 3, [(2, 9), (30, 30)]),  # retried: not all positions
        ([(0, 1), (1, 1)], 1, 1, [(0, 0), (1, 1)]),
    ],
)  # fmt: skip
def test_cut(
    sizes: list[tuple[int, int]], max_characters: int, max_documents: int, ranges: list[tuple[int, int]]
) -> None:
    found = cut(sizes, max_characters, max_documents)
    assert [(piece.first, piece.last) for piece in found] == ranges
    assert sum(piece.characters for piece in found) == sum(size for _, size in sizes)


@given(st.lists(st.tuples(st.integers(1, 5), st.integers(0, 40)), max_size=60), st.integers(1, 30), st.integers(1, 10))
def test_each_document_is_in_one_range_and_each_range_within_bounds(
    steps: list[tuple[int, int]], max_characters: int, max_documents: int
) -> None:
    sizes: dict[int, int] = {}
    for step, size in steps:
        sizes[max(sizes, default=-1) + step] = size
    ranges = cut(list(sizes.items()), max_characters, max_documents)
    assert all(one.last < other.first for one, other in pairwise(ranges))
    held = [[position for position in sizes if first <= position <= last] for first, last, _ in ranges]
    assert [position for shard in held for position in shard] == list(sizes)
    for (first, last, characters), shard in zip(ranges, held, strict=True):
        assert characters == sum(sizes[position] for position in shard)
        assert (shard[0], shard[-1]) == (first, last)
        assert len(shard) <= max_documents
        assert len(shard) == 1 or sum(sizes[position] for position in shard) <= max_characters
