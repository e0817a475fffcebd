"""A plot as a small SVG file: it lies in the repository, and matplotlib writes three to five times as much."""

import io
import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree
from xml.etree.ElementTree import Element

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SVG, XLINK = "{http://www.w3.org/2000/svg}", "{http://www.w3.org/1999/xlink}"
HREF = f"{XLINK}href"
STYLE: dict[Any, Any] = {
    "svg.hashsalt": "textmill",  # the same numbers give the same file
    "svg.fonttype": "none",  # text as text: a third of the size, and it can be searched
    "font.sans-serif": ["DejaVu Sans"],  # else a dozen names beside each text
}

ElementTree.register_namespace("", SVG.strip("{}"))
ElementTree.register_namespace("xlink", XLINK.strip("{}"))


def save(figure: "Figure", path: Path) -> None:
    """Write the figure, and the folder where there is none."""
    import matplotlib as mpl  # of the group `bench`: who only reads plots does without

    written = io.StringIO()
    with mpl.rc_context(STYLE):
        figure.savefig(written, format="svg", metadata={"Date": None})
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(smaller(written.getvalue()), encoding="utf-8")


def smaller(svg: str) -> str:
    """The same picture in fewer bytes: numbers of four digits, each style once, no names but those that are used.

    An optimizer of SVG was not taken for it: one more package, for what these few lines do.
    """
    root = ElementTree.fromstring(svg)
    for element in [*root.iter()]:
        for child in [*element]:
            if child.tag == f"{SVG}metadata":
                element.remove(child)
    _rename(root)
    for element in root.iter():
        if element.tag not in (f"{SVG}text", f"{SVG}style"):
            element.text = None
        element.tail = None
        for name in ("d", "x", "y", "transform"):
            if name in element.attrib:
                element.set(name, _rounded(element.attrib[name]))
    _flatten(root)
    _classes(root)
    return (
        ElementTree.tostring(root, encoding="unicode")
        .replace("><g", ">\n<g")
        .replace("><use", ">\n<use")
        .replace(" />", "/>")
        + "\n"
    )


def _rounded(numbers: str) -> str:
    """Numbers among letters and brackets, each with four digits; no line breaks."""
    return " ".join(re.sub(r"-?\d+\.\d+", lambda found: f"{float(found[0]):.4g}", numbers).split())


def _rename(root: Element) -> None:
    """Short names for what is referred to, and none for the rest."""
    references = re.compile(r"(?<=#)[\w-]+")
    referring = [(element, name) for element in root.iter() for name in (HREF, "clip-path") if name in element.attrib]
    used = dict.fromkeys(references.findall(element.attrib[name])[0] for element, name in referring)
    names = {name: f"i{number}" for number, name in enumerate(used)}
    for element, name in referring:
        element.set(name, references.sub(lambda found: names[found[0]], element.attrib[name]))
    for element in root.iter():
        if (name := element.attrib.get("id", "")) in names:
            element.set("id", names[name])
        elif name:
            del element.attrib["id"]


def _flatten(element: Element) -> None:
    """Take away groups that say nothing: their members stand in their place."""
    element[:] = list(_members(element))


def _members(element: Element) -> Iterator[Element]:
    for child in element:
        _flatten(child)
        if child.tag == f"{SVG}g" and not child.attrib:
            yield from child
        else:
            yield child


def _classes(root: Element) -> None:
    """Styles by the names of classes."""
    styles = list(dict.fromkeys(style for element in root.iter() if (style := element.get("style"))))
    for element in root.iter():
        if style := element.attrib.pop("style", None):
            element.set("class", f"s{styles.index(style)}")
    for group in root.iter(f"{SVG}g"):
        of_members = {member.get("class") for member in group}
        if len(group) > 1 and len(of_members) == 1 and None not in of_members:
            group.set("class", of_members.pop() or "")
            for member in group:
                del member.attrib["class"]
    sheet = next(root.iter(f"{SVG}style"))
    sheet.text = (sheet.text or "") + "".join(f".s{number}{{{style}}}" for number, style in enumerate(styles))
