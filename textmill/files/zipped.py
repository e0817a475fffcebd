"""The formats that are zip archives of XML: docx (python-docx), odt and epub (nothing but the standard library)."""

import contextlib
import io
import posixpath
import zipfile
from collections.abc import Iterator
from urllib.parse import unquote
from xml.etree import ElementTree  # nosec B405 - see _tree

from textmill.errors import FileDamaged, FileEncrypted, FileTooLarge, FileUnreadable, FileWithoutText
from textmill.files import markup

MAX_UNPACKED = 512 * 1024 * 1024
"""Bytes of all that an archive holds: a small file may unpack to more than any memory."""

OLE = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"
"""How files of the older Office begin, and those of the newer one that are encrypted."""

_ODF = "{urn:oasis:names:tc:opendocument:xmlns:%s:1.0}"
_TEXT = _ODF % "text"
_PARAGRAPHS = (f"{_TEXT}p", f"{_TEXT}h")
_LEFT_OUT = (f"{_TEXT}tracked-changes", f"{_ODF % 'office'}annotation", f"{_TEXT}sequence-decls")


def docx(data: bytes, name: str, encoding: str | None) -> str:
    """Paragraphs by lines, rows of tables with tabs between their cells."""
    import docx as python_docx
    from docx.table import Table

    if data.startswith(OLE):
        raise FileEncrypted(f"{name} is encrypted, or of a Word before 2007")
    with _archive(data, name):
        blocks = python_docx.Document(io.BytesIO(data)).iter_inner_content()
        lines: list[str] = []
        for block in blocks:
            if isinstance(block, Table):
                lines += ["\t".join(cell.text.replace("\n", " ") for cell in row.cells) for row in block.rows]
            else:
                lines.append(block.text)
    return _some("\n".join(lines), name)


def odt(data: bytes, name: str, encoding: str | None) -> str:
    """Paragraphs by lines; changes that were noted and comments are left out."""
    with _archive(data, name) as archive:
        if b"encryption-data" in archive.read("META-INF/manifest.xml"):
            raise FileEncrypted(f"{name} is encrypted: it wants a password")
        body = _tree(archive.read("content.xml"))
    return _some("\n".join(_paragraphs(body)), name)


def epub(data: bytes, name: str, encoding: str | None) -> str:
    """The chapters in the order of the book, with an empty line between them."""
    with _archive(data, name) as archive:
        container = _tree(archive.read("META-INF/container.xml"))
        package_path = next(one.attrib["full-path"] for one in container.iter() if one.tag.endswith("}rootfile"))
        package = _tree(archive.read(package_path))
        paths = {
            one.attrib["id"]: posixpath.join(posixpath.dirname(package_path), unquote(one.attrib["href"]))
            for one in package.iter()
            if one.tag.endswith("}item")
        }
        chapters = [paths[one.attrib["idref"]] for one in package.iter() if one.tag.endswith("}itemref")]
        if _protected(archive) & set(chapters):
            raise FileEncrypted(f"{name} is encrypted: its chapters are protected")
        texts = [markup.text_of(archive.read(path).decode("utf-8-sig")) for path in chapters]
    return _some("\n\n".join(text for text in texts if text), name)


def _tree(xml: bytes) -> ElementTree.Element:
    # expat bounds what entities may grow to, and loads none from elsewhere.
    return ElementTree.fromstring(xml)  # nosec B314


def _protected(archive: zipfile.ZipFile) -> set[str]:
    """The files of a book that are encrypted; fonts often are, which is no hindrance."""
    try:
        listed = _tree(archive.read("META-INF/encryption.xml"))
    except KeyError:
        return set()
    return {unquote(one.attrib.get("URI", "")) for one in listed.iter() if one.tag.endswith("}CipherReference")}


def _paragraphs(element: ElementTree.Element) -> Iterator[str]:
    for child in element:
        if child.tag in _PARAGRAPHS:
            yield _inline(child)
        elif child.tag not in _LEFT_OUT:
            yield from _paragraphs(child)


def _inline(element: ElementTree.Element) -> str:
    pieces = [element.text or ""]
    for child in element:
        if child.tag == f"{_TEXT}s":
            pieces.append(" " * int(child.attrib.get(f"{_TEXT}c", "1")))
        elif child.tag == f"{_TEXT}tab":
            pieces.append("\t")
        elif child.tag == f"{_TEXT}line-break":
            pieces.append("\n")
        elif child.tag not in _LEFT_OUT:
            pieces.append(_inline(child))
        pieces.append(child.tail or "")
    return "".join(pieces)


@contextlib.contextmanager
def _archive(data: bytes, name: str) -> Iterator[zipfile.ZipFile]:
    """What is wrong with an archive, or with what is in it, is told in our words."""
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            if any(entry.flag_bits & 1 for entry in archive.infolist()):
                raise FileEncrypted(f"{name} is encrypted: it wants a password")
            if sum(entry.file_size for entry in archive.infolist()) > MAX_UNPACKED:
                raise FileTooLarge(f"{name} unpacks to more than {MAX_UNPACKED} bytes")
            yield archive
    except FileUnreadable:
        raise
    except Exception as error:  # a boundary: of broken files a parser raises whatever it stumbles over
        raise FileDamaged(f"{name} is damaged: {type(error).__name__}: {error}") from error


def _some(text: str, name: str) -> str:
    if not text.strip():
        raise FileWithoutText(f"{name} has no text")
    return text.strip("\n")
