"""An input that cannot be looked at twice is known again by its documents."""

import pytest

from textmill.digest import Digest, Watch, digest_of
from textmill.documents import Chunk, encode
from textmill.errors import FileDamaged, FileUnreadable, InvalidRequest
from textmill.files.parts import Parts, unreadable

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


def test_of_what_could_not_be_read_the_code_counts_and_not_its_wording() -> None:
    found = [unreadable("a", FileDamaged(f"no zip: <_io.BytesIO object at {at}>")) for at in ("0x1", "0x23")]
    assert digest_of(found[:1]) == digest_of(found[1:])
    others = [unreadable("b", FileDamaged("")), unreadable("a", FileUnreadable("")), Parts("a", "")]
    assert len({digest_of([one]).sha256 for one in (found[0], *others)}) == 4
    quoted = [Parts("a", f'"unreadable":{{"code":"{n}"}}') for n in range(2)]
    assert digest_of(quoted[:1]) != digest_of(quoted[1:])


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
