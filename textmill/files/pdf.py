"""pdf: the text of its pages (pypdf). A page that is a picture has none."""

import io
import logging

from textmill.errors import FileDamaged, FileEncrypted, FileUnreadable, FileWithoutText


def pdf(data: bytes, name: str, encoding: str | None) -> str:
    """The pages with an empty line between them. Raises FileEncrypted, FileWithoutText, FileDamaged."""
    import pypdf

    # It tells of every oddity of a file that it can read.
    logging.getLogger("pypdf").setLevel(logging.ERROR)
    try:
        reader = pypdf.PdfReader(io.BytesIO(data), strict=False)
        # Many have a password for changing them alone, and an empty one for reading.
        if reader.is_encrypted and not reader.decrypt(""):
            raise FileEncrypted(f"{name} is encrypted: it wants a password")
        pages = [page.extract_text() for page in reader.pages]
    except FileUnreadable:
        raise
    except Exception as error:  # a boundary: of broken files a parser raises whatever it stumbles over
        raise FileDamaged(f"{name} is damaged: {type(error).__name__}: {error}") from error
    text = "\n\n".join(page.strip() for page in pages if page.strip())
    if not text:
        raise FileWithoutText(f"{name}: none of its {len(pages)} pages has text: pictures of text need OCR first")
    return text
