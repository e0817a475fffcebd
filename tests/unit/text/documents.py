"""Documents for property tests: real-like ones, put together from what real ones are made of, and hostile ones."""

from hypothesis import strategies as st

SENTENCES = [
    "The committee met on Tuesday, 3.5 hours late, at St. Mary's.",
    "Dr. J. Smith (of the U.N.) said: “We agree.”",
    "Olá, mundo! O relatório ficou pronto às 9h30.",
    "これは最初の文です。次の文はもっと長いかもしれません！",
    "هذه جملة عربية قصيرة. وهذه أخرى؟",
    "זה משפט בעברית, עם פסיק.",
    "Family: 👨‍👩‍👧‍👦 and flag 🇧🇷, thumbs 👍🏽.",
    "Cafe\u0301 nai\u0308ve re\u0301sume\u0301.",
    "See https://example.org/a?b=c for details",
    "no end here and no capital either",
    "1999.",
    "***",
    "नमस्ते दुनिया। यह दूसरा वाक्य है।",
]
LINE_ENDS = ["\n", "\r\n", "\r", "\u2028", "\x85"]
MARKS = ["- ", "* ", "1. ", "12) ", "(a) ", "• ", "> ", "# ", "- [x] ", "\t", "    ", "  - ", "— "]
TABLE_ROWS = ["| name | value |", "|------|-------|", "name\tvalue\tunit", "apples     12     kg", "a | b"]
CODE = ["```python", "def f(x):", "    return x + 1  # add one", "```", "~~~", "$ ls -la /usr"]

_sentences = st.lists(st.sampled_from(SENTENCES), min_size=1, max_size=4).map(" ".join)
_lines = st.one_of(
    _sentences,
    st.tuples(st.sampled_from(MARKS), _sentences).map("".join),
    st.sampled_from(TABLE_ROWS),
    st.sampled_from(CODE),
    st.sampled_from(["", " ", "\t", "-----", "\u00a0", "\u3000"]),
)
real_like = st.lists(st.tuples(_lines, st.sampled_from(LINE_ENDS)).map("".join), max_size=14).map("".join)

_hostile_alphabet = st.sampled_from(
    list("aZé.!?,;: \t\n\r\"'()|-*#>`~1@/\u0301\u200d\u00a0\u2028\u3000😀👍🏽日。") + list("א\u0627\u061f")
)
hostile = st.text(_hostile_alphabet, max_size=80)
anything = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=80)

documents = st.one_of(real_like, hostile, anything)
