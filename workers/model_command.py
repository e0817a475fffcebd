"""`python -m workers models check [NAME ...]`, `pull NAME [--convert FOLDER]` and `compare NAME --texts FILE`.

check loads what the catalogue offers, as a worker would, on the CPU; pull fetches a hub model ahead of time, and
converts it where a worker would, so that no job waits for either. Safetensors only, and never a checkpoint's own code:
what has neither is refused here. compare is `workers/model_comparison.py`.
"""

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

from huggingface_hub import snapshot_download
from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError, RevisionNotFoundError

from store.catalogue import Catalogue, Entry, load
from store.model_folder import FolderError, inspect
from store.settings import StoreSettings
from textmill import tasks
from textmill.errors import InvalidRequest, ModelUnavailable, TextmillError
from workers.kinds import Precision
from workers.model_comparison import compare, read
from workers.models import kind_of, make, spec_of
from workers.settings import WorkerSettings

FILES = ("*.json", "*.safetensors", "*.model", "*.spm", "*.txt")
"""What is fetched of a repository: settings, tokenizers, weights; no pickles, no other frameworks' weights, no code."""
FOLDERS = ("[!1]*/*", "1[!_]*/*")
"""What is not: repositories keep exports for other engines in folders. `1_Pooling/` says how vectors are made."""


def parser() -> argparse.ArgumentParser:
    """What the command line understands."""
    whole = argparse.ArgumentParser(
        prog="python -m workers models", description="Check, fetch or compare the catalogue's models."
    )
    commands = whole.add_subparsers(dest="command", required=True)
    checking = commands.add_parser("check", help="load models, as a worker would")
    checking.add_argument(
        "names", nargs="*", metavar="NAME", help="default: all; a hub model not yet fetched is passed over"
    )
    pulling = commands.add_parser("pull", help="fetch a hub model ahead of time, and check it")
    pulling.add_argument("name", metavar="NAME")
    pulling.add_argument(
        "--convert",
        type=Path,
        metavar="FOLDER",
        help="for a model without safetensors: read its pickle with torch's weights-only loader, and write safetensors "
        "to this folder, which then becomes the entry's source",
    )
    comparing = commands.add_parser("compare", help="run a model by torch and by CTranslate2 on texts of yours")
    comparing.add_argument("name", metavar="NAME")
    comparing.add_argument("--texts", type=Path, required=True, metavar="FILE", help="a text a line, or .jsonl")
    comparing.add_argument(
        "--formats",
        nargs="+",
        choices=get_args(Precision),
        default=["float32", "int8"],
        help="number formats for CTranslate2 (float32 and int8)",
    )
    comparing.add_argument("--options", type=json.loads, default={}, metavar="JSON", help="of the job")
    return whole


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; 0: all is well, 1: a model is not, 2: wrong usage or a wrong catalogue."""
    args = parser().parse_args(argv)
    try:
        catalogue = load(StoreSettings().catalogue)
        if args.command == "check":
            return check(catalogue, args.names)
        if args.command == "pull":
            return pull(catalogue.get(args.name), args.convert)
        return report(catalogue.get(args.name), args.formats, args.texts, args.options)
    except TextmillError as error:
        print(error.message, file=sys.stderr)
        return 1 if isinstance(error, ModelUnavailable) else 2


def check(catalogue: Catalogue, names: Sequence[str]) -> int:
    """Load each model; a line each. Only what was named, or lies in a folder, has to be there."""
    wrong = 0
    for entry in [catalogue.get(name) for name in names] or list(catalogue.entries.values()):
        try:
            verdict = describe(entry, folder_of(entry))
        except NotFetched as error:
            verdict = f"not fetched: {error.message}"
            wrong += entry.name in names
        except ModelUnavailable as error:
            verdict = f"WRONG: {error.message}"
            wrong += 1
        print(f"{entry.name}: {verdict}", flush=True)
    return 1 if wrong else 0


def pull(entry: Entry, convert_to: Path | None = None) -> int:
    """Fetch into the hub's cache (HF_HOME) at the pinned revision, and check. Raises ModelUnavailable."""
    if entry.local:
        print(f"{entry.name}: in {entry.path}, nothing to fetch; {describe(entry, folder_of(entry))}")
        prepare(entry)
        return 0
    if convert_to is not None:
        return convert(entry, convert_to)
    path = Path(_snapshot(entry, FILES, offline=False))
    if not any(path.glob("*.safetensors")):
        raise ModelUnavailable(
            f"{entry.source} has no safetensors at revision {entry.revision or 'main'}. Pin a revision that has them "
            f"(the hub's conversion robot offers one as a pull request, refs/pr/N), or use --convert FOLDER"
        )
    print(f"{entry.name}: {describe(entry, path)}, in {path}")
    prepare(entry)
    return 0


def prepare(entry: Entry) -> None:
    """Open the model as a worker of this machine would: what its backend makes of the files is then there."""
    settings = WorkerSettings()
    if entry.task is not None:
        make(spec_of(entry, settings.device, settings.threads, settings.dtype, settings.cache_dir)).open()


def report(entry: Entry, formats: Sequence[Precision], texts: Path, options: Mapping[str, Any]) -> int:
    """Print the comparison. Raises InvalidRequest, ModelUnavailable, InvalidOptions."""
    if entry.task is None:
        raise InvalidRequest(f"{entry.name} is no model")
    settings = WorkerSettings()
    spec = spec_of(entry, settings.device, settings.threads, cache_dir=settings.cache_dir)
    for line in compare(replace(spec, source=str(folder_of(entry))), formats, read(texts), options):
        print(line, flush=True)
    return 0


def convert(entry: Entry, folder: Path) -> int:
    """Fetch the pickle, read its tensors without running anything in it, write the folder as safetensors."""
    from workers.backends.torch import weights  # a pickle is torch's own form

    path = Path(_snapshot(entry, (*FILES, "pytorch_model*.bin"), offline=False))
    weights.convert(path, kind_of(entry.task), folder)
    print(f'{entry.name}: {describe(entry, folder)}. In the catalogue: source = "{folder.resolve()}"')
    return 0


class NotFetched(ModelUnavailable):
    """The hub model is not in this machine's cache: fetch it with `python -m workers models pull NAME`."""


def folder_of(entry: Entry) -> Path:
    """Where the model's files are on this machine. Raises NotFetched."""
    if entry.path is not None:
        return entry.path
    return Path(_snapshot(entry, FILES, offline=True))


def _snapshot(entry: Entry, files: Sequence[str], offline: bool) -> str:
    """The cached snapshot's folder, fetched unless offline. Raises NotFetched, ModelUnavailable."""
    at = f"{entry.source} (revision {entry.revision or 'main'})"
    try:
        return snapshot_download(
            entry.source,
            revision=entry.revision,
            allow_patterns=list(files),
            ignore_patterns=list(FOLDERS),
            local_files_only=offline,
        )
    except LocalEntryNotFoundError as error:
        if offline:
            raise NotFetched(
                f"{at} is not in this machine's cache: python -m workers models pull {entry.name}"
            ) from error
        raise ModelUnavailable(f"{at} could not be fetched: the hub cannot be reached from here") from error
    except RevisionNotFoundError as error:
        raise ModelUnavailable(f"{at}: the hub has no such revision") from error
    except HfHubHTTPError as error:
        raise ModelUnavailable(f"{at} could not be fetched: {str(error).splitlines()[0]}") from error


def describe(entry: Entry, path: Path) -> str:
    """Load the model from the folder as a worker would, run it once, and say what it is. Raises ModelUnavailable."""
    if entry.task is None:
        return "ok"
    try:
        folder = inspect(path, tasks.get(entry.task), entry.window)
    except FolderError as error:
        raise ModelUnavailable(str(error)) from error
    # A format that only a GPU has is looked at there.
    on_cpu = entry.cpu_dtype or entry.dtype
    number_format: Precision = "int8" if on_cpu == "int8" else "float32"
    spec = spec_of(entry, device="cpu", dtype=number_format, cache_dir=WorkerSettings().cache_dir)
    runner = make(replace(spec, source=str(path)))
    runner.open()
    runner.load()
    runner.run([runner.canary()])
    size = runner.memory_bytes() / 1e6
    return f"ok: {folder.architecture}, {size:.1f} MB of weights, by {runner.backend.name} in {runner.dtype}"
