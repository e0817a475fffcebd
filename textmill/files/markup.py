"""The text of HTML, as its reader sees it: blocks by lines, no scripts. For books and mails, which are text throughout;
pages of the web have menus and the like around it, see `web.py`."""

import re
from html.parser import HTMLParser

SILENT = frozenset({"script", "style", "head", "title", "template", "noscript", "svg"})

PARAGRAPHS = frozenset({
    "p", "h1", "h2", "h3", "h4", "h5", "h6", "blockquote", "pre", "table", "ul", "ol", "div", "section", "article",
})  # fmt: skip

BLOCKS = PARAGRAPHS | {
    "address", "aside", "body", "br", "caption", "dd", "dl", "dt", "figcaption", "figure", "footer", "form", "header",
    "hr", "li", "main", "nav", "td", "th", "tr",
}  # fmt: skip


class _Reader(HTMLParser):
    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.pieces: list[str] = []
        self._silent = 0

    def handle_starttag(self, tag: str, attrs: object) -> None:
        if tag in SILENT:
            self._silent += 1
        elif tag in BLOCKS:
            self.pieces.append("\n\n" if tag in PARAGRAPHS else "\n")

    def handle_startendtag(self, tag: str, attrs: object) -> None:
        if tag in BLOCKS:
            self.pieces.append("\n")

    def handle_endtag(self, tag: str) -> None:
        if tag in SILENT:
            self._silent = max(0, self._silent - 1)
        elif tag in PARAGRAPHS:
            self.pieces.append("\n\n")

    def parse_marked_section(self, i: int, report: bool = True) -> int:
        """The end of `<![if ...]>` and of anything alike, which ends with its bracket; -1 where that has not come yet.

        Python's own takes a few words there, and ends with an AssertionError at any other.
        """
        if self.rawdata.startswith("<![CDATA[", i):
            return super().parse_marked_section(i, report)
        return self.rawdata.find(">", i) + 1 or -1

    def handle_data(self, data: str) -> None:
        if not self._silent:
            self.pieces.append(re.sub(r"\s+", " ", data))


def text_of(html: str) -> str:
    """Paragraphs with an empty line between them."""
    reader = _Reader()
    reader.feed(html)
    reader.close()
    lines = [line.strip() for line in "".join(reader.pieces).split("\n")]
    return re.sub(r"\n{3,}", "\n\n", "\n".join(lines)).strip()
