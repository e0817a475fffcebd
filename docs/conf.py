"""Sphinx's settings for the site of these pages: `make docs-site` writes it to build/site.

The source is the whole tree, of which a few pages are taken: so their links, to each other and to files beside them,
are the same here and on the repository's own page, and none has to be written anew.
"""

import os
import sys
from pathlib import Path

from sphinx.application import Sphinx

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "docs")]
os.environ["COLUMNS"] = "100"  # by which argparse wraps what `--help` says

import reference  # noqa: E402
import tables  # noqa: E402

project = "Textmill"
root_doc = "docs/index"
include_patterns = [
    "docs/**.md",
    "*.md",
    "examples/README.md",
    "benchmarks/RESULTS.md",
    "models/*-small/README.md",
    "models/training/data/README.md",
]
exclude_patterns = [".*", "build", "dist", "demo-output", "**/node_modules", "tests", "web"]
extensions = ["myst_parser", "sphinx.ext.autodoc"]

myst_heading_anchors = 4  # `file.md#a-heading`, as the repository's page has them
default_role = "code"  # docstrings have single backticks
autodoc_member_order = "bysource"
autodoc_class_signature = "separated"
autodoc_default_options = {"members": True, "inherited-members": True, "undoc-members": False}
nitpicky = False  # signatures name types of other libraries, which have no page here

html_theme = "furo"
html_title = "Textmill"
html_show_sourcelink = False
html_copy_source = False

FRONT = '<!doctype html><meta charset="utf-8"><title>Textmill</title><meta http-equiv="refresh" content="0; url=docs/">'


def _fill(_app: Sphinx, name: str, source: list[str]) -> None:
    if name in reference.PARTS:
        source[0] = tables.filled_text(name, source[0], reference.PARTS[name])


def _front(app: Sphinx, failure: Exception | None) -> None:
    """The address of the site itself shows its first page."""
    if failure is None:
        (Path(app.outdir) / "index.html").write_text(FRONT, encoding="utf-8")


def setup(app: Sphinx) -> None:
    """What Sphinx calls."""
    app.connect("source-read", _fill)
    app.connect("build-finished", _front)
