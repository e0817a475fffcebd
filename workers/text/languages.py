"""Language codes in the spellings that checkpoints use: "pt", "por", "pt_XX", "pt-BR", "por_Latn"."""

# ISO 639-3 (which NLLB uses) to ISO 639-1 (which sentencex and most other checkpoints use). A macrolanguage's usual
# member stands for it: NLLB says "arb" for Arabic, "zho" for Chinese, "pes" for Persian.
_TWO_LETTERS = {
    "afr": "af", "amh": "am", "ara": "ar", "arb": "ar", "asm": "as", "azj": "az", "bel": "be", "ben": "bn",
    "bos": "bs", "bul": "bg", "cat": "ca", "ces": "cs", "cym": "cy", "dan": "da", "deu": "de", "ell": "el",
    "eng": "en", "epo": "eo", "est": "et", "eus": "eu", "fas": "fa", "fin": "fi", "fra": "fr", "gle": "ga",
    "glg": "gl", "guj": "gu", "heb": "he", "hin": "hi", "hrv": "hr", "hun": "hu", "hye": "hy", "ind": "id",
    "isl": "is", "ita": "it", "jpn": "ja", "kan": "kn", "kat": "ka", "kaz": "kk", "khm": "km", "kor": "ko",
    "lao": "lo", "lit": "lt", "lvs": "lv", "mal": "ml", "mar": "mr", "mkd": "mk", "mya": "my", "nld": "nl",
    "nno": "nn", "nob": "nb", "npi": "ne", "ory": "or", "pan": "pa", "pes": "fa", "pol": "pl", "por": "pt",
    "ron": "ro", "rus": "ru", "sin": "si", "slk": "sk", "slv": "sl", "spa": "es", "sqi": "sq", "srp": "sr",
    "swe": "sv", "swh": "sw", "tam": "ta", "tel": "te", "tha": "th", "tur": "tr", "ukr": "uk", "urd": "ur",
    "uzn": "uz", "vie": "vi", "zho": "zh", "zsm": "ms",
}  # fmt: skip


def two_letters(code: str) -> str:
    """The code's language in ISO 639-1 where it has one, else its language part in lower case."""
    language = code.replace("-", "_").split("_")[0].lower()
    return _TWO_LETTERS.get(language, language)


def resolve(code: str, known: frozenset[str]) -> str | None:
    """The spelling of `known` that means `code`: the same, or the only one of the same language. None: no such one."""
    if code in known:
        return code
    same = [other for other in known if two_letters(other) == two_letters(code)]
    return same[0] if len(same) == 1 else None
