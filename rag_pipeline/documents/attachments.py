"""The files inside a mail in, attachments with safe names out.

This module knows what names a disk takes and how mail programs refer to inline pictures; it knows nothing of how the
files are read.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from email.message import EmailMessage, Message

from rag_pipeline.documents.partition import clean
from rag_pipeline.types import Attachment

__all__ = ["attached", "attached_parts", "inline_pictures", "safe_name"]

_MOST = 200
_NAME_BYTES = 120
_SUFFIX_BYTES = 20
_UNSAFE = re.compile(r'[\x00-\x1f\x7f/\\:*?"<>|]+')
_RESERVED = re.compile(r"(?:con|prn|aux|nul|com\d|lpt\d)(?=\.|$)", re.IGNORECASE)


def safe_name(name: str, fallback: str = "attachment") -> str:
    """Return a name that any disk takes: no folders, no control characters, no leading dots, at most 120 bytes.

    >>> safe_name("../../etc/passwd"), safe_name(".bashrc"), safe_name("a" * 200 + ".pdf")[-8:], safe_name("..")
    ('passwd', 'bashrc', 'aaaa.pdf', 'attachment')
    """
    last = re.split(r"[/\\]", clean(name).rstrip("/\\"))[-1]
    safe = _UNSAFE.sub("_", last).strip(" .")
    safe = _RESERVED.sub("_", safe, count=1) if _RESERVED.match(safe) else safe
    if len(safe.encode()) > _NAME_BYTES:
        stem, dot, suffix = safe.rpartition(".")
        ending = dot + suffix if dot and len(suffix.encode()) <= _SUFFIX_BYTES else ""
        kept = (stem if ending else safe).encode()[: _NAME_BYTES - len(ending.encode())]
        safe = kept.decode("utf-8", "ignore").strip(" .") + ending
    return safe or fallback


def attached(files: Iterable[tuple[str, bytes]]) -> list[Attachment]:
    """Number the first 200 files of a mail, so that no two have one name; empty ones are left out."""
    kept = [(name, content) for name, content in files if content][:_MOST]
    return [Attachment(_numbered(place, name), content) for place, (name, content) in enumerate(kept, start=1)]


def _numbered(place: int, name: str) -> str:
    """Return the name behind its number, still within 120 bytes."""
    prefix = f"{place}-"
    safe = safe_name(name)
    over = len(prefix) + len(safe.encode()) - _NAME_BYTES
    if over > 0:
        stem, dot, suffix = safe.rpartition(".")
        if not dot or len(suffix.encode()) > _SUFFIX_BYTES:
            stem, dot, suffix = safe, "", ""
        safe = stem.encode()[:-over].decode("utf-8", "ignore") + dot + suffix
    return prefix + safe


def attached_parts(message: EmailMessage) -> list[tuple[str, bytes]]:
    """Return the names and contents of what is attached, a forwarded mail as one file; pictures in the text are not.

    Only the mail itself is looked into: what is attached to an attached mail comes out of that one in its turn.
    """
    return [(_name(part), _content(part)) for part in _leaves(message) if _is_attached(part)]


def inline_pictures(message: EmailMessage) -> dict[str, bytes]:
    """Return the pictures that an HTML body can show, by their content ids."""
    return {
        part["Content-ID"].strip().strip("<>"): _content(part)
        for part in _leaves(message)
        if part.get_content_maintype() == "image" and part["Content-ID"]
    }


def _leaves(message: Message) -> Iterable[EmailMessage]:
    """Yield the parts of a mail, without going into mails that are attached to it."""
    waiting: list[Message] = [message]
    while waiting:
        part = waiting.pop()
        if part.get_content_maintype() == "multipart" and part.get_content_type() != "multipart/digest":
            inner = part.get_payload()
            waiting.extend(
                reversed([one for one in inner if isinstance(one, Message)] if isinstance(inner, list) else [])
            )
        elif isinstance(part, EmailMessage) and part is not message:
            yield part


def _is_attached(part: EmailMessage) -> bool:
    if part.get_content_type() == "multipart/digest":
        return False
    if part.get_content_disposition() == "attachment" or part.get_content_type() == "message/rfc822":
        return True
    if part["Content-ID"] and part.get_content_maintype() == "image":
        return False
    return bool(part.get_filename()) and part.get_content_maintype() != "text"


def _name(part: EmailMessage) -> str:
    name = clean(part.get_filename())
    if part.get_content_type() == "message/rfc822":
        inner = _inner_mail(part)
        name = name or clean(str(inner.get("Subject", "") if inner is not None else "")) or "mail"
        return name if name.lower().endswith(".eml") else f"{name}.eml"
    return name or f"attachment{_SUFFIX_OF.get(part.get_content_type(), '')}"


_SUFFIX_OF: Mapping[str, str] = {
    "application/pdf": ".pdf",
    "image/jpeg": ".jpg",
    "image/png": ".png",
    "text/calendar": ".txt",
    "text/csv": ".csv",
    "text/html": ".html",
    "text/plain": ".txt",
}


def _inner_mail(part: Message) -> Message | None:
    inner = part.get_payload()
    return inner[0] if isinstance(inner, list) and inner and isinstance(inner[0], Message) else None


def _content(part: Message) -> bytes:
    if part.get_content_type() == "message/rfc822":
        inner = _inner_mail(part)
        try:
            return inner.as_bytes() if inner is not None else b""
        except (ValueError, LookupError, AttributeError, TypeError, RecursionError):
            return b""  # The standard library cannot write all that it reads: broken headers, mails in mails in mails.
    payload = part.get_payload(decode=True)
    return payload if isinstance(payload, bytes) else b""
