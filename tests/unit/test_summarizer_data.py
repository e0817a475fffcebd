"""What the summarizer learns from: phrases that their texts bear out, sentences to copy, manual pages."""

import pytest
import sentencepiece as spm

from models.training import loop, manuals
from models.training.summarization import MODEL, wide_examples
from models.training.summarization_data import gap_sentence, grounded, passages, support

TEXT = "This tool edits the tags of audio files. It reads Ogg and FLAC, and runs in a terminal (with colours)."


@pytest.mark.parametrize(
    ("phrase", "kept"),
    [
        ("tool to edit the tags of audio files", "tool to edit the tags of audio files"),  # an inflection is the text's
        ("KDE audio tag editor with terminal", "audio tag with terminal"),  # "editor" is no inflection of "edits"
        ("audio file tag tool - documentation", "audio file tag tool"),
        ("audio file tag tool (shared library)", "audio file tag tool"),
        ("audio file tag tool for Python", "audio file tag tool"),
        ("module for tags of audio files", "tags of audio files"),
        ("editing of the library of tags in audio files", ""),  # "of the (...) of": it lost what it was about
        ("Perl bindings for the terminal", ""),  # too little
        ("terminal", ""),
    ],
)
def test_a_phrase_keeps_what_its_text_has(phrase: str, kept: str) -> None:
    assert grounded(TEXT, phrase) == kept


def test_support_counts_content_words_alone() -> None:
    assert support(TEXT, "the audio of a violin") == 0.5
    assert support(TEXT, "it is of the") == 0.0


def test_the_gap_sentence_is_the_one_that_says_most_of_the_others() -> None:
    sentences = [
        "Nobody had asked the old man about it before.",
        "The bridge over the river was closed because its pillars were damaged.",
        "Ice had damaged the pillars, and the river was high.",
        "The bridge.",
    ]
    assert gap_sentence(sentences) == 1
    assert gap_sentence(sentences, longest=10) == 2
    assert gap_sentence(sentences[3:]) is None
    assert gap_sentence(["A heading without an end that is long enough", "Yes."]) is None


def test_passages_do_not_mix_sources_and_leave_headings_out() -> None:
    line = "The bridge over the river was closed because its pillars were damaged."
    chunks = [{"source": source, "text": text} for source, text in [("a", line), ("a", "Heading"), ("b", line)]]
    assert list(passages(chunks)) == [{"source": "a", "text": line}, {"source": "b", "text": line}]
    many = list(passages([{"source": "a", "text": f"{n} {line}"} for n in range(200)]))
    assert sum(passage["text"].count("bridge") for passage in many) == 200
    assert max(len(passage["text"].split()) for passage in many) <= 280


PAGE = r"""
.\" made by hand
.TH TAGEDIT 1
.SH NAME
tagedit, tagls \- edit the tags of audio files
.SH SYNOPSIS
.B tagedit
[\fIoption\fR ...]
.SH DESCRIPTION
.B tagedit
edits the \*(L"tags\*(R" of \fIaudio\fR files\&.
.IX Item "tags"
See
.BR tagls (1),
which lists \s-1FLAC\s0 tags.
.PP
.nf
tagedit \-\-all song.flac
.fi
It is well\-tested.
.SS "More"
No \f(CWX11\fR.
.SH BUGS
None.
"""


def test_a_manual_page_is_read_from_its_source() -> None:
    assert manuals.read(PAGE) == (
        "edit the tags of audio files",
        'tagedit edits the "tags" of audio files. See tagls(1), which lists FLAC tags. It is well-tested. No X11.',
    )


@pytest.mark.parametrize("lost", [".SH DESCRIPTION", r"\- edit the tags of audio files"])
def test_a_page_without_a_phrase_or_a_description_is_none(lost: str) -> None:
    assert manuals.read(PAGE.replace(lost, "")) is None


def test_the_mixture_has_only_what_can_be_said_and_found() -> None:
    tokenizer = spm.SentencePieceProcessor(str(MODEL / "source.spm"))
    last = "The bridge over the river was closed."
    long = "Nobody had asked about it before. " * 20 + last
    pairs = {
        "descriptions": [(TEXT, "audio tag tool"), (TEXT, "字"), (TEXT, "tag " * 60)],
        "gaps": [(long, last), (f"{last} {long}", last)],
    }
    found = wide_examples(tokenizer, pairs, limit=64)
    assert [tokenizer.decode(example.target) for example in found] == ["audio tag tool", last]
    assert max(len(example.source) for example in found) == 64
    assert loop.batches(found, 2400, tokenizer.get_piece_size(), seed=1)[0].source.shape == (2, 64)
