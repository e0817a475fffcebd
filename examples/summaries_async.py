"""Two jobs at once with the asynchronous client: summaries, and the organisations and people they are about."""

import asyncio
from pathlib import Path

from textmill import AsyncClient

LONG = Path(__file__).parent / "long"


async def main() -> None:
    """Print each document's name, what it is about, and who is in it."""
    texts = [(path.stem, path.read_text(encoding="utf-8")) for path in sorted(LONG.glob("*.txt"))]
    async with AsyncClient() as mill:
        summaries, entities = await asyncio.gather(mill.submit("summarization", texts), mill.submit("ner", texts))
        await asyncio.gather(summaries.wait(), entities.wait())
        for name, _text in texts:
            summary, found = await asyncio.gather(summaries.result(name), entities.result(name))
            print(f"\n{name}\n  {summary.output.summary_text if summary.output else summary.error}")
            if found.output:
                names = sorted({entity.word for entity in found.output.entities or [] if entity.entity_group != "MISC"})
                print(f"  {', '.join(names[:12])}")


if __name__ == "__main__":
    asyncio.run(main())
