"""Mail in (EML, Outlook's MSG), elements out: who wrote to whom, when, about what, and then the body.

Attachments are named in the notes and not read. This module knows mail headers; bodies go the way of HTML or plain
text.
"""

from __future__ import annotations

import email
import email.policy
from email.message import EmailMessage, Message
from pathlib import Path

from rag_pipeline.documents.decode import decode
from rag_pipeline.documents.markup import html_parts
from rag_pipeline.documents.partition import Parts, clean
from rag_pipeline.documents.plain import text_parts
from rag_pipeline.errors import InputError
from rag_pipeline.types import Element

__all__ = ["read_eml", "read_msg"]

_HEADERS = ("Subject", "From", "To", "Cc", "Date")
_ENCRYPTED = "the mail is encrypted; save it decrypted from the mail program"


def read_eml(path: Path) -> Parts:
    """Read a mail message.

    Raises:
        InputError: the message is encrypted.
    """
    data = path.read_bytes()
    if b"\x00" in data[:4096]:  # UTF-16, as some mail programs save it
        data = decode(data).encode("utf-8")
    message = email.message_from_bytes(data.lstrip(b"\xef\xbb\xbf\r\n"), policy=email.policy.default)
    if message.get_content_type() == "multipart/encrypted" or message.get_param("smime-type") == "enveloped-data":
        raise InputError(_ENCRYPTED)
    return _with_header(_body(message), {name: _header(message, name) for name in _HEADERS}, _attachments(message))


def read_msg(path: Path) -> Parts:
    """Read an Outlook message.

    Raises:
        InputError: the message is encrypted.
    """
    import oxmsg

    message = oxmsg.Message.load(str(path))
    content_type = message.message_headers.get("Content-Type", "")
    if message.message_class == "IPM.Note.SMIME" or "encrypted" in content_type:
        raise InputError(_ENCRYPTED)
    headers = {name: clean(message.message_headers.get(name)) for name in _HEADERS}
    headers["Subject"] = headers["Subject"] or clean(message.subject)
    headers["From"] = headers["From"] or clean(message.sender)
    headers["To"] = headers["To"] or ", ".join(clean(one.email_address) for one in message.recipients)
    headers["Date"] = headers["Date"] or clean(str(message.sent_date or ""))
    body = html_parts(message.html_body) if message.html_body else text_parts(message.body or "")
    return _with_header(body, headers, [clean(one.file_name) for one in message.attachments])


def _with_header(body: Parts, headers: dict[str, str], attachments: list[str]) -> Parts:
    """Put the header first, as text, so that "who wrote" and "when" can be asked."""
    parts = Parts(title=headers["Subject"])
    if lines := [f"{name}: {value}" for name, value in headers.items() if value]:
        parts.elements.append(Element("\n".join(lines), "UncategorizedText"))
    parts.append(body)
    if named := ", ".join(name for name in attachments if name):
        parts.notes.append(f"attachments are not read: {named}; save them into the folder")
    return parts


def _body(message: EmailMessage) -> Parts:
    """Read the body that its writer prefers; a digest or a forward without one is the sum of its texts."""
    preferred = message.get_body(("html", "plain"))
    if preferred is not None and not preferred.is_multipart():
        texts = [preferred]
    else:
        texts = [part for part in message.walk() if part.get_content_type() in ("text/plain", "text/html")]
    parts = Parts()
    for part in texts:
        if part is preferred or part.get_content_disposition() != "attachment":
            text = _text_of(part)
            parts.append(html_parts(text) if part.get_content_type() == "text/html" else text_parts(text))
    return parts


def _text_of(part: Message) -> str:
    """Decode a body by its declared character set, or, where that is wrong or unknown, by its bytes."""
    payload = part.get_payload(decode=True)
    if not isinstance(payload, bytes):
        return ""
    try:
        return payload.decode(part.get_content_charset() or "utf-8").replace("\r\n", "\n")
    except (UnicodeDecodeError, LookupError):
        return decode(payload, markup=part.get_content_type() == "text/html")


def _header(message: EmailMessage, name: str) -> str:
    try:
        return " ".join(clean(str(message.get(name, ""))).split())
    except (ValueError, TypeError, IndexError, AttributeError):
        return ""  # The standard library's parser stumbles over malformed addresses; the mail is read without.


def _attachments(message: EmailMessage) -> list[str]:
    parts = (part for part in message.walk() if part.get_content_disposition() == "attachment")
    return [clean(part.get_filename()) for part in parts]
