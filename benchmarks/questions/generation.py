"""Translation and summarization, the model alone: engine and backend against libraries that are called directly."""

from collections.abc import Sequence

from benchmarks.questions.models import DIRECT, GENERATE, OURS, arm, bundled
from benchmarks.questions.question import Aim, Arm, Question, Size

TEXTMILL, DIRECTLY = "Textmill, float32", "CTranslate2 directly, float32"
SORTED = tuple(f"generate(), sorted, {rows} rows" for rows in (16, 32, 64))


def question(task: str, beams: int, documents: int, plain_documents: int) -> Question:
    """The same for a task and a number of beams."""
    make = bundled(task, num_beams=beams)

    def arms(size: Size) -> Sequence[Arm]:
        return [
            arm(TEXTMILL, "as it chooses by itself", OURS, {}, make),
            arm("Textmill, int8", "as the catalogue has it on a CPU", OURS, {"dtype": "int8"}, make, exact=False),
            arm("Textmill, torch", "backend by name", OURS, {"backend": "torch"}, make, standard=False),
            arm(DIRECTLY, "all rows in one call, 2,048 tokens a batch", DIRECT, {}, make),
            *(
                arm(
                    f"CTranslate2 directly, {dtype}, {tokens} tokens", "its packing at other sizes", DIRECT,
                    {"dtype": dtype, "batch_tokens": tokens}, make, exact=dtype == "float32", standard=False,
                )
                for dtype, tokens in (("float32", 1_024), ("float32", 4_096), ("int8", 2_048))
            ),
            *(
                arm(name, "longest first", GENERATE, {"batch": rows, "sort": True}, make, standard=rows == 32)
                for name, rows in zip(SORTED, (16, 32, 64), strict=True)
            ),
            arm("generate(), as they come, 16 rows", "", GENERATE, {"batch": 16}, make, slow=True, standard=False),
            arm("generate(), one by one", "", GENERATE, {}, make, slow=True, standard=False),
        ]  # fmt: skip

    how = "greedy" if beams == 1 else f"{beams} beams"
    return Question(
        f"{task}-{'greedy' if beams == 1 else 'beams'}",
        f"{task}, {how}, the model alone, one thread a side",
        Size(documents, plain_documents),
        arms,
        (
            Aim(f"{task}, {how}, model only: against CTranslate2 called directly", TEXTMILL, (DIRECTLY,), 0.97),
            Aim(f"{task}, {how}, model only: against the best generate()", TEXTMILL, SORTED, 2.0),
        ),
    )


QUESTIONS = (
    question("translation", 1, 120, 20),
    question("translation", 4, 80, 12),
    question("summarization", 1, 160, 40),
    question("summarization", 4, 160, 40),
)
