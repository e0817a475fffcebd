"""Names -> bytes: files, folders, patterns, the standard input, and the addresses that fsspec knows. Packed files are
unpacked as they are read, by their suffix."""

import contextlib
import glob
import gzip
import importlib.util
import io
import os
import shutil
import sys
import tempfile
import zlib
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import IO, Any, cast
from urllib.parse import urlsplit

from textmill.errors import FileDamaged, FileUnreadable, InvalidRequest, MissingExtra, TextmillError

BLOCK = 1024 * 1024

STDIN = "-"


def is_remote(name: str) -> bool:
    """Whether it is an address for fsspec, and not a path."""
    return "://" in name


def shown(name: str) -> str:
    """How messages name it."""
    return "standard input" if name == STDIN else name


def suffixes(name: str) -> tuple[str, str]:
    """(suffix of the format, suffix of the packing) in lower case, each empty where there is none."""
    # zip://folder/a.csv::s3://bucket/b.zip: the file's name is in the first part.
    path = Path(urlsplit(name.split("::")[0]).path if is_remote(name) else name)
    packed = path.suffix.lower()
    if packed not in PACKED:
        return packed, ""
    return path.with_suffix("").suffix.lower(), packed


# --- which files ------------------------------------------------------------------------------------------------------


def expand(patterns: Iterable[str], without: Callable[[str], bool] = lambda name: False) -> list[str]:
    """File names, folders, patterns (`reports/**/*.txt`) and addresses -> files in order; `-` stays.

    Of a folder all files, those in folders below too, but none whose name begins with a dot. without: says of a file
    that was found in a folder or by a pattern that it is none of the input. Raises InvalidRequest
    where nothing matches, FileUnreadable where a store cannot be asked.
    """
    found: list[str] = []
    for pattern in patterns:
        if is_remote(pattern):
            matches = _expand_remote(pattern)
        elif pattern == STDIN or os.path.isfile(pattern):
            matches = [pattern]
        elif os.path.isdir(pattern):
            matches = sorted(name for name in _inside(pattern) if not without(name))
        else:
            matching = (name for name in glob.iglob(pattern, recursive=True) if os.path.isfile(name))
            matches = sorted(name for name in matching if not without(name))
        if not matches:
            raise InvalidRequest(f"{pattern}: no such file")
        found += matches
    return found


def _inside(folder: str) -> Iterator[str]:
    for here, folders, files in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".")]
        yield from (os.path.join(here, name) for name in files if not name.startswith("."))


def _expand_remote(pattern: str) -> list[str]:
    fs, path = _file_system(pattern)
    # A question mark or a bracket is part of an address of the web.
    if urlsplit(pattern).scheme in ("http", "https") or "::" in pattern:
        return [pattern]
    try:
        with _remote_errors(pattern):
            if any(sign in path for sign in "*?["):
                names = [name for name in fs.glob(path) if not fs.isdir(name)]
            elif fs.isdir(path):
                names = [name for name in fs.find(path) if not name.rsplit("/", 1)[-1].startswith(".")]
            else:
                names = [path]
    except OSError as error:
        raise _unreadable(pattern, error) from error
    return [cast(str, fs.unstrip_protocol(name)) for name in sorted(names)]


def facts(name: str) -> tuple[str, int | None, int | None]:
    """(name, bytes, a number that changes when it is changed): what tells a changed file from the same one.

    None where there is no such file, or none for us: it fails as its own document when it is read. Raises
    FileUnreadable where nobody answers: what is told of a file must not depend on that.
    """
    if name == STDIN:
        return name, None, None
    try:
        return _facts(name)
    except (FileNotFoundError, PermissionError):
        return name, None, None
    except OSError as error:
        raise _unreadable(name, error) from error


def _facts(name: str) -> tuple[str, int | None, int | None]:
    if is_remote(name):
        fs, path = _file_system(name)
        with _remote_errors(name):
            info = fs.info(path)
        mark = next(
            (
                info[key]
                for key in ("ETag", "etag", "mtime", "LastModified", "last_modified", "created")
                if info.get(key)
            ),
            "",
        )
        return name, info.get("size"), zlib.crc32(str(mark).encode()) if mark else None
    found = os.stat(name)
    return name, found.st_size, found.st_mtime_ns


# --- their bytes ------------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def opened(name: str) -> Iterator[IO[bytes]]:
    """The file's bytes, unpacked.

    Raises FileUnreadable where it cannot be opened or read, here or later on; InvalidRequest for the standard input.
    """
    try:
        with contextlib.ExitStack() as stack:
            if name == STDIN:
                file = sys.stdin.buffer
            elif is_remote(name):
                fs, path = _file_system(name)
                stack.enter_context(_remote_errors(name))
                file = stack.enter_context(fs.open(path, "rb"))
            else:
                file = stack.enter_context(open(name, "rb"))
            _, packed = suffixes(name)
            yield PACKED[packed](file) if packed else file
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise FileDamaged(f"{shown(name)} is damaged: {error}") from error
    except OSError as error:
        if name == STDIN:
            raise InvalidRequest(_unreadable(shown(name), error).message, file=shown(name)) from error
        raise _unreadable(name, error) from error


def _unreadable(name: str, error: OSError) -> FileUnreadable:
    return FileUnreadable(f"{name} cannot be read: {error.strerror or str(error) or type(error).__name__}")


@contextlib.contextmanager
def seekable(file: IO[bytes]) -> Iterator[IO[bytes]]:
    """The same bytes where one can go back: what is packed, or comes in a pipe, is laid aside on the disk."""
    if file.seekable() and not isinstance(file, gzip.GzipFile):
        yield file
        return
    with tempfile.TemporaryFile() as aside:
        shutil.copyfileobj(file, aside, BLOCK)
        aside.seek(0)
        yield aside


class _Zstandard(io.RawIOBase):
    """Frames one after the other. The package's own reader takes a frame that is cut off for the end of the file."""

    def __init__(self, file: IO[bytes]) -> None:
        import zstandard

        self._file = file
        self._new = zstandard.ZstdDecompressor
        self._broken = zstandard.ZstdError
        self._frame: Any = None
        self._ready = b""
        self._packed = b""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while not self._ready:
            if not self._packed and not (block := self._file.read(BLOCK // 8)):
                if self._frame is not None:
                    raise EOFError("the compressed data end before their end mark")
                return 0
            self._packed = self._packed or block
            self._frame = self._frame or self._new().decompressobj()
            try:
                self._ready = self._frame.decompress(self._packed)
            except self._broken as error:
                raise EOFError(str(error)) from error
            self._packed = self._frame.unused_data if self._frame.eof else b""
            self._frame = None if self._frame.eof else self._frame
        taken = self._ready[: len(buffer)]
        self._ready = self._ready[len(taken) :]
        buffer[: len(taken)] = taken
        return len(taken)


PACKED: dict[str, Callable[[IO[bytes]], IO[bytes]]] = {
    ".gz": lambda file: cast(IO[bytes], gzip.GzipFile(fileobj=file)),
    ".zst": lambda file: cast(IO[bytes], io.BufferedReader(_Zstandard(file), BLOCK)),
}
"""How a file of that last suffix is unpacked."""


# --- what has to be installed -----------------------------------------------------------------------------------------

EXTRAS = {
    "zstandard": "parquet",
    "pyarrow": "parquet",
    "trafilatura": "documents",
    "pypdf": "documents",
    "docx": "documents",
    "fsspec": "remote",
    "narwhals": "frames",
}
"""Modules by the extra of the wheel that brings them."""


def need(module: str, why: str) -> None:
    """Raises MissingExtra, with the command that installs it, where the module is not there."""
    if importlib.util.find_spec(module) is None:
        extra = EXTRAS[module]
        raise MissingExtra(f"{why} needs the package {module}: pip install 'textmill[{extra}]'", extra=extra)


def _file_system(name: str) -> tuple[Any, str]:
    need("fsspec", f"{name}: an address")
    import fsspec

    try:
        fs, path = fsspec.core.url_to_fs(name)
    except ImportError as error:
        raise MissingExtra(f"{name}: {error}", extra="remote") from error
    except ValueError as error:
        raise InvalidRequest(f"{name}: {error}", file=name) from error
    return fs, path


@contextlib.contextmanager
def _remote_errors(name: str) -> Iterator[None]:
    """What a store answers has a class of each store's own."""
    try:
        yield
    except (OSError, UnicodeError, TextmillError):
        raise
    except Exception as error:  # a boundary: clients of every store raise errors of their own
        raise FileUnreadable(f"{name} cannot be read: {type(error).__name__}: {error}") from error
