"""html: the main text of a page, without its menus, scripts and markup (trafilatura)."""

import logging
import re

from textmill.errors import FileWithoutText
from textmill.files import encodings, markup

DECLARED = re.compile(rb"""<meta[^>]{0,200}?charset\s*=\s*["']?\s*([A-Za-z0-9_.:-]{2,40})""", re.IGNORECASE)

XML_DECLARATION = re.compile(r"^\s*<\?xml[^>]{0,200}\?>")


def html(data: bytes, name: str, encoding: str | None) -> str:
    """The main text; where none stands out all of it. Raises FileEncodingUnknown, FileWithoutText."""
    import trafilatura

    page = XML_DECLARATION.sub("", encodings.decoded(data, name, encoding or _declared(data)))
    # It tells of every page that it makes nothing of.
    logging.getLogger("trafilatura").setLevel(logging.CRITICAL)
    text = trafilatura.extract(page, include_comments=False) or markup.text_of(page)
    if not text.strip():
        raise FileWithoutText(f"{name}: the page has no text (it is made by scripts, perhaps)")
    return str(text)


def _declared(data: bytes) -> str | None:
    """What the page says of itself, unless it has a byte order mark, which says it, too."""
    found = DECLARED.search(data[:2048])
    if found is None or data.startswith((b"\xef\xbb\xbf", b"\xff\xfe", b"\xfe\xff")):
        return None
    name = found[1].decode("ascii").lower()
    # As browsers take it: pages that say Latin-1 are in Windows' extension of it.
    name = "cp1252" if name in ("iso-8859-1", "latin-1", "latin1", "ascii", "us-ascii") else name
    return name if encodings.known(name) else None
