"""An input that cannot be looked at twice is known again by its documents."""

import pytest

from textmill.digest import Digest, Watch, digest_of
from textmill.documents import Chunk, encode
from textmill.errors import InvalidRequest
from textmill.files.parts import Parts

NAMES = [Parts(None, "a"), Parts("1", "b"), Parts(None, "c"), Parts(None, "d")]


def refuse(_noted: Digest) -> None:
    pytest.fail("noted")


def chunk(first: int, end: int) -> Chunk:
    return Chunk([encode(document, 0) for document in NAMES[first:end]])


def test_a_digest_is_of_ids_texts_and_borders() -> None:
    given = [
        [Parts(None, "ab")],
        [Parts(None, "a"), Parts(None, "b")],
        [Parts("a", "b")],
        [Parts("a", "b", {"question": "Who?"})],
        [],
        [Parts(None, "a"), Parts(None, "c")],
    ]
    assert len({digest_of(documents).sha256 for documents in given}) == len(given)
    assert digest_of([]) == Digest()


def test_what_is_sent_was_noted_before() -> None:
    noted: list[Digest] = []
    watch = Watch(Digest(), 0, noted.append)
    watch(chunk(0, 2))
    watch(chunk(2, 3))
    watch.finish()
    assert noted == [digest_of(NAMES[:2]), digest_of(NAMES[:3])]


@pytest.mark.parametrize("held", [0, 2, 3])
def test_the_same_documents_go_on_where_the_earlier_ones_stopped(held: int) -> None:
    noted: list[Digest] = []
    watch = Watch(digest_of(NAMES[:3]), held, noted.append)
    if held >= 2:  # the job holds these: whether they are the same is known only at the third
        watch(chunk(0, 2))
        assert noted == []
        watch(chunk(2, 4))
    else:
        watch(chunk(0, 4))
    watch.finish()
    assert noted == [digest_of(NAMES)]


def test_other_documents_are_refused_before_they_are_sent() -> None:
    watch = Watch(digest_of([Parts(None, "x"), *NAMES[1:3]]), 1, refuse)
    with pytest.raises(InvalidRequest, match="other documents"):
        watch(chunk(0, 4))
    watch = Watch(digest_of(NAMES[:3]), 2, refuse)
    watch(chunk(0, 2))
    with pytest.raises(InvalidRequest, match="other documents"):
        watch.finish()


def test_a_chunk_that_cannot_be_compared_is_not_sent() -> None:
    watch = Watch(digest_of(NAMES[:3]), 1, refuse)
    with pytest.raises(InvalidRequest, match="--restart"):
        watch(chunk(0, 2))
    with pytest.raises(InvalidRequest, match="--restart"):
        Watch(digest_of(NAMES[:1]), 2, refuse)
