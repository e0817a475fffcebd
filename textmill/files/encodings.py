"""Bytes -> text. What is not UTF-8 is found out where the package that can do so is installed, and said; where it is
doubtful the file is not read, and `--encoding` decides."""

import codecs
import contextlib
import importlib.util
import io
import warnings
from collections.abc import Iterator
from typing import IO, cast

from textmill.errors import FileEncodingUnknown, InvalidRequest

MARKS = ((codecs.BOM_UTF32_LE, "utf-32"), (codecs.BOM_UTF32_BE, "utf-32"), (codecs.BOM_UTF16_LE, "utf-16"),
         (codecs.BOM_UTF16_BE, "utf-16"))  # fmt: skip
"""Byte order marks, and what they say. That of UTF-8 goes without saying."""

BLOCK = 64 * 1024

SAMPLE = 256 * 1024
"""Bytes that are looked at to find an encoding out."""


RECOGNIZED = 0.2
"""From this share of a language's usual letters on, an encoding is more than possible. Russian in KOI8-R, taken for
Japanese, has 0.0; a sentence in French, German or Polish 0.26 to 0.65."""


class FileNotice(UserWarning):
    """Something about a file that its owner should know: the encoding that it was found to have, a file that failed."""


def say(message: str) -> None:
    """Tell it as a warning: the command line prints it, a program may catch it."""
    warnings.warn(message, FileNotice, stacklevel=2)


def check(encoding: str | None) -> None:
    """Raises InvalidRequest for an encoding that Python does not know."""
    if encoding is not None and not known(encoding):
        raise InvalidRequest(f"there is no encoding {encoding!r}")


def decoded(data: bytes, name: str, encoding: str | None = None) -> str:
    """The text of a whole file. encoding: as its owner says. Raises FileEncodingUnknown."""
    marked = encoding or _marked(data)
    try:
        text = data.decode(marked or "utf-8-sig")
    except UnicodeDecodeError as error:
        if marked:
            raise FileEncodingUnknown(f"{name} is not {marked}: {error.reason} at byte {error.start}") from error
        at = f"{name} is not UTF-8: {error.reason} at byte {error.start}"
        found = guess(data)
        if found is None:
            raise FileEncodingUnknown(f"{at}; {hint(None)}") from error
        say(f"{at}; it is read as {found}, which fits (--encoding names another)")
        return data.decode(found)
    except UnicodeError as error:  # without a place: codecs of names (idna) rather than of texts
        raise FileEncodingUnknown(f"{name} is not {marked}: {error}") from error
    if marked and not encoding:
        say(f"{name} is read as {marked}, by its byte order mark")
    return text.removeprefix("\ufeff")


@contextlib.contextmanager
def stream(file: IO[bytes], name: str, encoding: str | None, newline: str) -> Iterator[IO[str]]:
    """The text of a file that is read bit by bit: in UTF-8, or as its owner or its byte order mark says."""
    # Not a second one over a pipe's: it would wait until its whole block is there.
    own = None if isinstance(file, io.BufferedReader) else io.BufferedReader(cast(io.RawIOBase, file), BLOCK)
    buffered = own or cast(io.BufferedReader, file)
    marked = None if encoding else _marked(buffered.peek(4)[:4])
    if marked:
        say(f"{name} is read as {marked}, by its byte order mark")
    text = io.TextIOWrapper(buffered, encoding=encoding or marked or "utf-8-sig", newline=newline)
    try:
        yield text
    finally:
        # They would close the file below them, which may be the standard input.
        text.detach()
        if own:
            own.detach()


def guess(data: bytes) -> str | None:
    """The encoding that the bytes seem to have; None where that is doubtful or nobody can tell."""
    if importlib.util.find_spec("charset_normalizer") is None or b"\0" in data[:SAMPLE]:
        return None
    from charset_normalizer import from_bytes

    found = from_bytes(data[:SAMPLE]).best()
    # Without words of a language that it knows, it takes the first of many that are all possible.
    if found is None or found.coherence < RECOGNIZED:
        return None
    try:
        data.decode(found.encoding)
    except UnicodeDecodeError:
        return None
    return found.encoding


def hint(found: str | None) -> str:
    """What to do about a file that is not UTF-8."""
    if found:
        return f"it looks like {found}: --encoding {found} reads it so"
    if importlib.util.find_spec("charset_normalizer") is None:
        return "--encoding names another; with pip install 'textmill[documents]' it is found out"
    return "--encoding names another"


def _marked(data: bytes) -> str | None:
    return next((name for mark, name in MARKS if data.startswith(mark)), None)


def known(encoding: str) -> bool:
    """Whether Python knows an encoding of text by that name."""
    try:
        return codecs.lookup(encoding)._is_text_encoding
    except LookupError:
        return False
