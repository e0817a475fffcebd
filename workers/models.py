"""From a catalogue entry to its runner. Torch is imported when the first model that needs it is made."""

import threading
from typing import Any

from workers.runner import Runner

_importing = threading.Lock()
"""transformers imports its parts when their names are first asked for. Where several threads do that at once, Python
breaks the deadlock of their import locks by handing out a module that is half done, and a name is missing: seen when
the first jobs of three models arrived together."""


def make(entry: Any, device: str = "auto") -> Runner:
    """A runner that has neither been opened nor loaded.

    entry: any object with the attributes of a catalogue entry (`store.catalogue.Entry`): name, task, source, path,
    revision, options, dtype, window, and the task's `offer`. device: "auto",
    "cpu", "cuda", "cuda:1". Raises ModelUnavailable where the device does not exist, ValueError for an unknown task.
    """
    if entry.source == "echo":
        from workers.backends.echo.echo import Echo

        return Echo(entry.name)
    with _importing:
        from workers.backends.torch.seq2seq import Seq2SeqRunner
        from workers.backends.torch.token_classification import TokenClassificationRunner
    source = str(entry.path) if entry.path else entry.source
    common = {
        "source": source,
        "revision": entry.revision,
        "defaults": entry.options,
        "dtype": entry.dtype,
        "window": entry.window,
        "device": device,
    }
    if entry.task == "ner":
        return TokenClassificationRunner(entry.name, **common)
    if entry.task in ("summarization", "translation"):
        return Seq2SeqRunner(
            entry.name,
            entry.task,
            **entry.offer.model_dump(),
            **common,
        )
    raise ValueError(f"no runner for the task {entry.task!r}")
