"""Plots as they lie in the repository."""

from pathlib import Path
from xml.etree import ElementTree

import pytest

from benchmarks.svg import SVG, smaller

PLOTS = sorted((Path(__file__).parents[2] / "benchmarks" / "plots").glob("*.svg"))

DRAWN = """<?xml version="1.0"?><!DOCTYPE svg>
<svg xmlns:xlink="http://www.w3.org/1999/xlink" xmlns="http://www.w3.org/2000/svg" width="9pt" viewBox="0 0 9 9">
 <metadata><creator/></metadata>
 <defs><style type="text/css">*{stroke-linecap: butt}</style></defs>
 <g id="figure_1">
  <g id="line_1"><defs><path id="mark" d="M 0 1.732051
C 0.459 1.7 0 0 1 1" style="stroke: #999999"/></defs>
   <g clip-path="url(#area)"><use xlink:href="#mark" x="193.731234" y="66.5" style="stroke: #999999"/></g></g>
  <g id="text_1"><!-- a --><text style="font-size: 10px" x="1">seconds  1.23456</text></g>
  <g id="empty"/>
 </g>
 <defs><clipPath id="area"><rect x="165.786178" y="27.001501" width="479.2" height="421.3"/></clipPath></defs>
</svg>"""


def test_a_plot_is_the_same_in_less() -> None:
    root = ElementTree.fromstring(smaller(DRAWN))
    [use], [area] = root.iter(f"{SVG}use"), root.iter(f"{SVG}clipPath")
    [path] = root.iter(f"{SVG}path")
    assert use.get("{http://www.w3.org/1999/xlink}href") == f"#{path.get('id')}"
    assert [group.get("clip-path") for group in root.iter(f"{SVG}g")] == [f"url(#{area.get('id')})"]
    assert (use.get("x"), use.get("y"), path.get("d")) == ("193.7", "66.5", "M 0 1.732 C 0.459 1.7 0 0 1 1")
    assert use.get("class") == path.get("class") != next(root.iter(f"{SVG}text")).get("class")
    [style] = root.iter(f"{SVG}style")
    assert f".{use.get('class')}{{stroke: #999999}}" in (style.text or "")
    assert [text.text for text in root.iter(f"{SVG}text")] == ["seconds  1.23456"]
    assert "creator" not in smaller(DRAWN)


@pytest.mark.parametrize("plot", PLOTS, ids=lambda plot: plot.stem)
def test_plots_of_the_repository_are_written_so(plot: Path) -> None:
    text = plot.read_text(encoding="utf-8")
    assert smaller(text) == text
