"""Files of every format, made by what usually makes them."""

import email.message
import gzip
import io
import json
import zipfile
from collections.abc import Callable
from typing import Any

import docx
import pyarrow as pa
import pypdf
import zstandard
from pyarrow import parquet as pq
from pypdf.generic import DecodedStreamObject, DictionaryObject, NameObject

FRENCH = "Le café était fermé à cause de la grève. Les élèves sont déçus, et la mairie a réagi très vite. "


def as_parquet(rows: list[dict[str, Any]], **options: Any) -> bytes:
    file = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(rows), file, **options)
    return file.getvalue()


def as_arrow(rows: list[dict[str, Any]], stream: bool = False) -> bytes:
    file, table = io.BytesIO(), pa.Table.from_pylist(rows)
    with (pa.ipc.new_stream if stream else pa.ipc.new_file)(file, table.schema) as writer:
        writer.write_table(table)
    return file.getvalue()


def as_delimited(rows: list[dict[str, Any]], delimiter: str) -> bytes:
    lines = [list(rows[0]), *([str(row[name] or "") for name in rows[0]] for row in rows)]
    return "\n".join(delimiter.join(line) for line in lines).encode()


TABLES: dict[str, Callable[[list[dict[str, Any]]], bytes]] = {
    "t.csv": lambda rows: as_delimited(rows, ","),
    "t.tsv": lambda rows: as_delimited(rows, "\t"),
    "t.jsonl": lambda rows: "\n".join(json.dumps(row) for row in rows).encode(),
    "t.json": lambda rows: json.dumps(rows).encode(),
    "t.parquet": as_parquet,
    "t.arrow": as_arrow,
    "t.arrows": lambda rows: as_arrow(rows, stream=True),
    "t.feather": as_arrow,
}

PACKINGS: dict[str, Callable[[bytes], bytes]] = {
    "": bytes,
    ".gz": gzip.compress,
    ".zst": lambda data: zstandard.compress(data[:20]) + zstandard.compress(data[20:]),  # two frames
}


def as_pdf(*texts: str, password: str | None = None, encryption: str = "AES-256") -> bytes:
    """Pages with a line of text each; an empty one has nothing but a picture's place."""
    writer = pypdf.PdfWriter()
    for text in texts:
        page = writer.add_blank_page(595, 842)
        font = DictionaryObject({
            NameObject("/Type"): NameObject("/Font"),
            NameObject("/Subtype"): NameObject("/Type1"),
            NameObject("/BaseFont"): NameObject("/Helvetica"),
        })  # fmt: skip
        page[NameObject("/Resources")] = DictionaryObject({
            NameObject("/Font"): DictionaryObject({NameObject("/F1"): font}),
        })  # fmt: skip
        content = DecodedStreamObject()
        content.set_data(f"BT /F1 12 Tf 72 720 Td ({text}) Tj ET".encode() if text else b"q 100 0 0 100 0 0 cm Q")
        page[NameObject("/Contents")] = writer._add_object(content)
    if password is not None:
        writer.encrypt(password, "owner", algorithm=encryption)
    file = io.BytesIO()
    writer.write(file)
    return file.getvalue()


def as_docx(*paragraphs: str) -> bytes:
    document = docx.Document()
    for text in paragraphs:
        document.add_paragraph(text)
    table = document.add_table(1, 2)
    table.cell(0, 0).text, table.cell(0, 1).text = "left", "right"
    file = io.BytesIO()
    document.save(file)
    return file.getvalue()


def as_zip(**files: str) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name.replace("__", "/").replace("_x_", "."), content)
    return file.getvalue()


ODF = " ".join(
    f'xmlns:{name}="urn:oasis:names:tc:opendocument:xmlns:{name}:1.0"' for name in ("office", "text", "table")
)


def as_odt(manifest: str = "<manifest/>") -> bytes:
    body = (
        "<text:tracked-changes><text:p>gone</text:p></text:tracked-changes><text:h>Title</text:h>"
        "<text:p>One<text:s text:c='2'/>two<text:tab/><text:span>three</text:span> four"
        "<office:annotation><text:p>a comment</text:p></office:annotation>.</text:p>"
        "<table:table><table:table-cell><text:p>cell</text:p></table:table-cell></table:table>"
    )
    content = f"<office:document-content {ODF}><office:body>{body}</office:body></office:document-content>"
    return as_zip(**{"content_x_xml": content, "META-INF__manifest_x_xml": manifest})


def as_epub(protected: str = "") -> bytes:
    chapter = (
        "<html><head><title>no</title><script>no()</script></head><body><h1>{0}</h1><p>Text of\n {0}.</p></body></html>"
    )
    files = {
        "META-INF__container_x_xml": "<c xmlns='u:c'><rootfiles><rootfile full-path='in/book.opf'/></rootfiles></c>",
        "in__book_x_opf": "<package xmlns='u:o'><manifest><item id='b' href='two%20b.xhtml'/>"
        "<item id='a' href='one.xhtml'/></manifest><spine><itemref idref='a'/><itemref idref='b'/></spine></package>",
        "in__one_x_xhtml": chapter.format("One"),
        "in__two b_x_xhtml": chapter.format("Two"),
    }  # fmt: skip
    if protected:
        files["META-INF__encryption_x_xml"] = (
            f"<e xmlns='u:e'><CipherData><CipherReference URI='{protected}'/></CipherData></e>"
        )
    return as_zip(**files)


def as_mail(plain: str | None, html: str | None = None, subject: str = "Räumung") -> bytes:
    message = email.message.EmailMessage()
    message["Subject"] = subject
    if plain is not None:
        message.set_content(plain, cte="base64")
    if html is not None:
        (message.add_alternative if plain is not None else message.set_content)(html, subtype="html")
    message.add_attachment(b"\0\1", maintype="application", subtype="octet-stream")
    return message.as_bytes()


PAGE = (
    "<!doctype html><html><head><meta charset='iso-8859-1'><script>no()</script></head>"
    "<body><nav><a href='/'>Menu</a></nav>"
    f"<article><h1>Grève</h1><p>{FRENCH * 5}</p><p>{FRENCH * 3}</p></article></body></html>"
)
