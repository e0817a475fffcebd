"""eml: a mail's subject and its text. Attachments are not read."""

import email
import email.policy
from email.message import EmailMessage

from textmill.errors import FileDamaged, FileWithoutText
from textmill.files import markup


def eml(data: bytes, name: str, encoding: str | None) -> str:
    """The subject, an empty line, the text: its plain form, else that of its HTML.

    Raises FileDamaged, FileWithoutText.
    """
    message = email.message_from_bytes(data, _class=EmailMessage, policy=email.policy.default)
    body = message.get_body(("plain", "html"))
    try:
        content = str(body.get_content()) if body is not None else ""
        subject = str(message["subject"] or "")
    except (LookupError, ValueError) as error:  # an encoding that nobody knows, a header that is none
        raise FileDamaged(f"{name} is damaged: {error}") from error
    if body is not None and body.get_content_subtype() == "html":
        content = markup.text_of(content)
    text = "\n\n".join(part.replace("\r\n", "\n").strip() for part in (subject, content) if part.strip())
    if not text:
        raise FileWithoutText(f"{name} has neither a subject nor a text")
    return text
