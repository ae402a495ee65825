"""Mail in (EML, Outlook's MSG), elements out: who wrote to whom, when, about what, and then the body.

Attachments are handed out where that is asked for, and else named in the notes. This module knows mail headers; bodies
go the way of HTML or plain text.
"""

from __future__ import annotations

import base64
import email
import email.policy
import re
import urllib.parse
from email.message import EmailMessage, Message
from pathlib import Path

from rag_pipeline.documents.attachments import attached, attached_parts, inline_pictures
from rag_pipeline.documents.decode import decode
from rag_pipeline.documents.facts import day_of
from rag_pipeline.documents.markup import html_parts
from rag_pipeline.documents.options import DEFAULTS, ParseOptions
from rag_pipeline.documents.partition import Parts, clean
from rag_pipeline.documents.plain import text_parts
from rag_pipeline.errors import InputError
from rag_pipeline.types import Element, Facts

__all__ = ["read_eml", "read_msg"]

_HEADERS = ("Subject", "From", "To", "Cc", "Date")
_CID = re.compile(r"""(src\s*=\s*["']?)cid:([^\s"'>]+)""", re.IGNORECASE)
_ENCRYPTED = "the mail is encrypted; save it decrypted from the mail program"


def read_eml(path: Path, options: ParseOptions = DEFAULTS) -> Parts:
    """Read a mail message; a mail that is attached to it is an attachment of its own.

    Raises:
        InputError: the message is encrypted.
    """
    data = path.read_bytes()
    if b"\x00" in data[:4096]:  # UTF-16, as some mail programs save it
        data = decode(data).encode("utf-8")
    message = email.message_from_bytes(data.lstrip(b"\xef\xbb\xbf\r\n"), policy=email.policy.default)
    if message.get_content_type() == "multipart/encrypted" or message.get_param("smime-type") == "enveloped-data":
        raise InputError(_ENCRYPTED)
    headers = {name: _header(message, name) for name in _HEADERS}
    return _with_header(_body(message), headers, attached_parts(message), options)


def read_msg(path: Path, options: ParseOptions = DEFAULTS) -> Parts:
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
    files = [(one.file_name or "", one.file_bytes or b"") for one in message.attachments]
    return _with_header(body, headers, files, options)


def _with_header(body: Parts, headers: dict[str, str], files: list[tuple[str, bytes]], options: ParseOptions) -> Parts:
    """Put the header first, as text, so that "who wrote" and "when" can be asked."""
    parts = Parts(title=headers["Subject"], facts=Facts(day_of(headers["Date"])))
    if lines := [f"{name}: {value}" for name, value in headers.items() if value]:
        parts.elements.append(Element("\n".join(lines), "UncategorizedText"))
    parts.append(body)
    if options.attachments:
        parts.attachments = attached(files)
    elif files:
        parts.lacking.add("attachments")
        named = ", ".join(clean(name) or "one without a name" for name, _ in files[:20])
        more = f" and {len(files) - 20} more" if len(files) > 20 else ""
        parts.notes.append(f"attachments are not read: {named}{more}; set ingest.attachments: true")
    return parts


def _body(message: EmailMessage) -> Parts:
    """Read the body that its writer prefers; a digest or a forward without one is the sum of its texts."""
    preferred = message.get_body(("html", "plain"))
    if preferred is not None and not preferred.is_multipart():
        texts = [preferred]
    else:
        texts = [part for part in message.walk() if part.get_content_type() in ("text/plain", "text/html")]
    parts = Parts()
    pictures = inline_pictures(message)
    for part in texts:
        if part is preferred or part.get_content_disposition() != "attachment":
            text = _text_of(part)
            parts.append(_html(text, pictures) if part.get_content_type() == "text/html" else text_parts(text))
    return parts


def _html(text: str, pictures: dict[str, bytes]) -> Parts:
    """Read an HTML body with the pictures that it shows from its own mail."""

    def inlined(found: re.Match[str]) -> str:
        image = pictures.get(urllib.parse.unquote(found[2]))
        encoded = "" if image is None else f"data:image/x;base64,{base64.b64encode(image).decode('ascii')}"
        return f"{found[1]}{encoded}"

    return html_parts(_CID.sub(inlined, text) if pictures else text)


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
