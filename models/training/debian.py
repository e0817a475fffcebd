"""Debian's package descriptions: English prose with a one-line synopsis, and human Brazilian Portuguese translations.

The release is pinned, not "stable", so that the split and the figures of the model cards stay reproducible. Packages
are split by *source* package: the binary packages of one source share most of their description.
"""

import hashlib
import random
import re
import subprocess
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

RELEASE = "bookworm"
LANGUAGES = ("en", "pt_BR")
KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"

_BULLET = re.compile(r"\s*[*+\-•o]\s+")
_SENTENCE_END = re.compile(r"(?<=[.!?])\s+(?=[\"'(\[]?[A-Z0-9À-Ú])")
_ABBREVIATION = re.compile(r"(?:\b(?:e\.g|i\.e|p\.ex|etc|vs|cf|Dr|Mr|Mrs|St|No|Inc|Ltd|ca|[A-Z])\.)$")


def is_test(source: str) -> bool:
    """Whether a source package belongs to the test part (one in sixteen), which is never trained on."""
    return hashlib.md5(source.encode()).hexdigest()[0] == "0"


NAME_BY_FORM = re.compile(
    r"lib(?!rar|re-|era|ert).*[\d-].*"
    r"|(?:python3?|golang|r-cran|r-bioc|fonts|elpa|gir1\.2|php|ruby|haskell|rust|tesseract-ocr|tryton-modules)-(?!.*(?:based|like|style|only|written)).+"
    r"|.+-(?:dev|doc|dbg|dkms|utils|linux-gnu.*|l10n-.+)"
)
"""Words that are names of packages whether or not there is such a one: libraries, and a package's parts."""


@dataclass(frozen=True)
class Description:
    """One package's description; a paragraph is running text or one list item, without line breaks."""

    package: str
    source: str
    synopsis: str
    paragraphs: tuple[str, ...]

    @property
    def held_out(self) -> bool:
        """Whether the package's source belongs to the test part."""
        return is_test(self.source)

    @property
    def body(self) -> str:
        return " ".join(self.paragraphs)


def fetch_indexes(work: Path, release: str = RELEASE) -> Path:
    """Fetch the package index and the two translation indexes with apt, apart from the system's own state."""
    work = work.resolve()  # apt takes relative paths from its own root
    apt = work / ("apt" if release == RELEASE else f"apt-{release}")
    lists = apt / "lists"
    if any(lists.glob("*Translation-en*")):
        return lists
    (lists / "partial").mkdir(parents=True, exist_ok=True)
    sources = apt / "sources.list"
    sources.write_text(f"deb [signed-by={KEYRING}] {archive()} {release} main\n")
    settings = {
        "Dir::State::lists": lists,
        "Dir::State::status": "/dev/null",
        "Dir::Cache": apt,
        "Dir::Etc::sourcelist": sources,
        "Dir::Etc::sourceparts": "/dev/null",
        "Acquire::Languages": ",".join(LANGUAGES),
        "Acquire::GzipIndexes": "false",
        "APT::Architecture": "amd64",
    }
    options = [word for key, value in settings.items() for word in ("-o", f"{key}={value}")]
    subprocess.run(["apt-get", *options, "update"], check=True)
    return lists


def archive() -> str:
    """The archive that this machine's own apt uses. Raises RuntimeError where it knows none."""
    known = ["apt-get", "indextargets", "--format", "$(REPO_URI) $(RELEASE)", "Created-By: Packages", "Component: main"]
    for line in subprocess.run(known, check=True, capture_output=True, text=True).stdout.splitlines():
        address, _, release = line.partition(" ")
        if "-" not in release:  # neither the updates nor the security archive
            return address
    raise RuntimeError("apt knows no archive here: run `apt-get update` on a Debian system first")


def _stanzas(path: Path) -> Iterator[dict[str, str]]:
    for block in path.read_text(encoding="utf-8").split("\n\n"):
        fields: dict[str, str] = {}
        key = ""
        for line in block.splitlines():
            if line.startswith(" "):
                fields[key] += "\n" + line[1:]
            else:
                key, _, value = line.partition(":")
                fields[key] = value.strip()
        if "Package" in fields:
            yield fields


def _paragraphs(lines: list[str]) -> tuple[str, ...]:
    """Join the soft line breaks: a blank line (" .") ends a paragraph, a list mark or an indentation begins one."""
    found: list[list[str]] = []
    fresh, in_item = True, False
    for line in lines:
        if line.strip() in {"", "."}:
            fresh = True
            continue
        mark = _BULLET.match(line)
        indented = line.startswith(" ") and not in_item
        if fresh or mark or indented or (in_item and not line.startswith(" ")):
            found.append([])
            in_item = mark is not None
        found[-1].append(line[mark.end() :] if mark else line)
        fresh = False
    return tuple(re.sub(r"\s+", " ", " ".join(part)).strip() for part in found)


@lru_cache(maxsize=2 * len(LANGUAGES))
def descriptions(lists: Path, language: str) -> dict[str, Description]:
    """The release's descriptions in one language, by package name; packages without a known source are left out."""
    [index] = lists.glob("*_Packages")
    # apt writes the underscore of pt_BR as %5f.
    [translations] = lists.glob(f"*_Translation-{language.replace('_', '%5f')}")
    sources = {s["Package"]: s.get("Source", s["Package"]).split(" ")[0] for s in _stanzas(index)}
    found = {}
    for stanza in _stanzas(translations):
        name = stanza["Package"]
        if name in sources:
            synopsis, *lines = stanza[f"Description-{language}"].split("\n")
            found[name] = Description(name, sources[name], synopsis.strip(), _paragraphs(lines))
    return found


def sentences(paragraph: str) -> list[str]:
    """Split at sentence ends, abbreviations kept whole. The served system has its own, better splitter (sentencex)."""
    parts: list[str] = []
    for part in _SENTENCE_END.split(paragraph):
        if parts and _ABBREVIATION.search(parts[-1]):
            parts[-1] += " " + part
        else:
            parts.append(part)
    return parts


def segments(text: Description) -> list[str]:
    """The synopsis and every sentence that has letters."""
    found = [text.synopsis, *(s for p in text.paragraphs for s in sentences(p))]
    return [s for s in found if re.search(r"[A-Za-z]{2}", s)]


def _aligned(english: Description, portuguese: Description) -> Iterator[tuple[str, str]]:
    """Sentence pairs of one package; paragraphs whose two sides differ in their number of sentences are left out."""
    if english.synopsis != portuguese.synopsis:
        yield english.synopsis, portuguese.synopsis
    if len(english.paragraphs) != len(portuguese.paragraphs):
        return
    for left, right in zip(english.paragraphs, portuguese.paragraphs, strict=True):
        sides = sentences(left), sentences(right)
        if len(sides[0]) == len(sides[1]):
            # A side more than twice as long as the other is no translation of this sentence alone.
            yield from ((a, b) for a, b in zip(*sides, strict=True) if a != b and 0.5 < len(b) / len(a) < 2)


def human_pairs(lists: Path, *, held_out: bool) -> list[tuple[str, str]]:
    """Distinct (English, Portuguese) segments of the training or the test part, in the order of the index."""
    english, portuguese = descriptions(lists, "en"), descriptions(lists, "pt_BR")
    both = [name for name in portuguese if name in english and english[name].held_out == held_out]
    return list(dict(pair for name in both for pair in _aligned(english[name], portuguese[name])).items())


def training_sentences(lists: Path) -> list[str]:
    """Distinct English segments of the training part, shuffled with a fixed seed."""
    texts = (d for d in descriptions(lists, "en").values() if not d.held_out)
    found = sorted({s for text in texts for s in segments(text) if 8 <= len(s) <= 400})
    random.Random(3).shuffle(found)
    return found


def test_pairs(lists: Path) -> list[tuple[str, str]]:
    """Human pairs of the test part whose English occurs nowhere in the training part."""
    known = set(training_sentences(lists)) | {english for english, _ in human_pairs(lists, held_out=False)}
    return [pair for pair in human_pairs(lists, held_out=True) if pair[0] not in known]


def words(text: str) -> set[str]:
    """The lower-cased words of a text; a name with inner marks (libfoo-dev, C++, 0.9.1) is one word."""
    return {w.strip(".,:;-_") for w in re.findall(r"[\w.+#-]+", text.lower())} - {""}


@lru_cache(maxsize=2)
def package_names(lists: Path) -> frozenset[str]:
    """Names of binary and source packages, but for those that are everyday words (found in 40 or more descriptions)."""
    texts = descriptions(lists, "en").values()
    spread = Counter(word for text in texts for word in words(f"{text.synopsis} {text.body}"))
    names = {name for text in texts for name in (text.package, text.source)}
    return frozenset(name for name in names if len(name) > 2 and spread[name] < 40)


def invented_names(text: str, summary: str, names: frozenset[str]) -> set[str]:
    """Package names in the summary that the text does not contain, not even as a part of a word."""
    named = {word for word in words(summary) if word in names or NAME_BY_FORM.fullmatch(word)}
    return {word for word in named if word not in text.lower()}


def summary_pairs(lists: Path, *, held_out: bool) -> list[tuple[str, str]]:
    """Distinct (description, synopsis) pairs of a part; at most two of one source, whose packages are much alike.

    A synopsis that shares no long word with its description, or names a package that it lacks, would teach invention.
    """
    found: dict[str, tuple[str, str]] = {}
    taken: Counter[str] = Counter()
    names = package_names(lists)
    for text in descriptions(lists, "en").values():
        shared = {w for w in words(text.synopsis) & words(text.body) if len(w) > 3}
        fits = text.held_out == held_out and shared and len(text.body) >= 60 and len(text.synopsis) >= 15
        if fits and taken[text.source] < 2 and not invented_names(text.body, text.synopsis, names):
            taken[text.source] += 1
            found.setdefault(text.body, (text.body, text.synopsis))
    return list(found.values())
