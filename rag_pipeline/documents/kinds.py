"""What a file is: a suffix or the first bytes in, the name of a kind out.

Enters: a path, and the start of its content. Leaves: a kind such as ``"pdf"``, for which ``parse.py`` has a reader, or
a sentence that says what the file is instead. This module reads at most the head of a file and a zip's directory; it
knows nothing of Unstructured.
"""

from __future__ import annotations

import re
import zipfile
from pathlib import Path

from rag_pipeline.documents.archive import ENCRYPTED, is_encrypted, open_archive
from rag_pipeline.errors import InputError
from rag_pipeline.media_types import MEDIA_TYPES

__all__ = ["HEAD_BYTES", "SUPPORTED_SUFFIXES", "ZIPPED", "kind_by_content", "kind_of", "refusal"]

HEAD_BYTES = 8192
_MIMETYPE_BYTES = 100

_SUFFIXES_OF_KIND = {
    "pdf": ".pdf",
    "docx": ".docx .docm .dotx",
    "pptx": ".pptx .pptm .ppsx",
    "xlsx": ".xlsx .xlsm",
    "doc": ".doc",
    "ppt": ".ppt",
    "xls": ".xls",
    "csv": ".csv",
    "tsv": ".tsv",
    "html": ".html .htm .xhtml",
    "md": ".md .markdown",
    "txt": ".txt .text .log",
    "rst": ".rst",
    "org": ".org",
    "eml": ".eml",
    "msg": ".msg",
    "epub": ".epub",
    "odt": ".odt",
    "rtf": ".rtf",
    "xml": ".xml",
    "json": ".json .ndjson .jsonl .yaml .yml",
    "image": ".png .jpg .jpeg .gif .bmp .tiff .tif .webp .heic",
}
_KIND_OF_SUFFIX = {suffix: kind for kind, suffixes in _SUFFIXES_OF_KIND.items() for suffix in suffixes.split()}
SUPPORTED_SUFFIXES = frozenset(_KIND_OF_SUFFIX)

ZIPPED = frozenset({"docx", "pptx", "xlsx", "epub", "odt"})
_TEXT_KINDS = frozenset({"csv", "tsv", "html", "md", "txt", "rst", "org", "eml", "xml", "json"})

_UTF16_OR_32_BOMS = (b"\xff\xfe", b"\xfe\xff")
_HTML_START = re.compile(rb"\s*(<!--.*?-->\s*)*<(!doctype\s+html|html)\b", re.IGNORECASE | re.DOTALL)
_XML_START = re.compile(rb"\s*<\?xml\b", re.IGNORECASE)
# Header lines, one of which only mail programs write: a memo that begins with "Date:" is no mail.
_MAIL_START = re.compile(
    rb"(?:[a-z][a-z0-9-]*:[^\n]*\n(?:[ \t][^\n]*\n)*)*?(?:mime-version|received|return-path|message-id|delivered-to):",
    re.IGNORECASE,
)


def kind_of(path: Path) -> str:
    """Return the kind by which to read a file; where content and suffix disagree, the content is right.

    Raises:
        InputError: no reader takes such a file, or its content is not what its suffix says.
    """
    content = kind_by_content(path)
    suffix = _KIND_OF_SUFFIX.get(path.suffix.lower())
    if content == "txt" and suffix in _TEXT_KINDS:
        return suffix
    if content in ("html", "xml", "eml") and suffix in _TEXT_KINDS - {"txt"}:
        return suffix
    if content is None and suffix is not None:
        raise InputError(
            f"the content is not that of a {path.suffix.lower()} file: it is damaged, cut off or misnamed; "
            "save it again with the program that made it"
        )
    if content == "txt" and suffix == "image":
        raise InputError("it is named as a picture and holds text; rename it to .txt if it should be read")
    if content is None or (suffix is None and path.suffix and content == "txt"):
        raise InputError(refusal(path))
    return content


def kind_by_content(path: Path) -> str | None:
    """Return the kind that the content shows, ``"txt"`` for any text, None where no reader fits.

    Raises:
        InputError: it is under a password, or has too many parts.
        OSError: it cannot be read.
    """
    with path.open("rb") as file:
        head = file.read(HEAD_BYTES)
    if b"%PDF-" in head[:1024]:
        return "pdf"
    if head.startswith(b"PK\x03\x04"):
        return _kind_of_zip(path)
    if head.startswith(b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"):
        return _kind_of_ole(path)
    if head.startswith(b"{\\rtf"):
        return "rtf"
    if (_guess(head) or "").startswith("image/"):
        return "image"
    return _kind_of_text(head)


def refusal(path: Path) -> str:
    """Say in one line why no reader takes this file."""
    with path.open("rb") as file:
        head = file.read(HEAD_BYTES)
    name = path.suffix.lower() or "files without a suffix"
    media_type = _guess(head) or ""
    if head.startswith(b"PK\x03\x04") or media_type.removeprefix("application/") in _ARCHIVES:
        return f"no reader for {name}: it is an archive; unpack it into the folder"
    for family, remedy in _FAMILIES.items():
        if media_type.startswith(family):
            return f"no reader for {name}: {remedy}"
    if _kind_of_text(head) is not None:
        return f"no reader for {name}: it holds plain text; rename it to .txt if it should be read"
    return f"no reader for {name}: it is not a document; convert it to PDF, or exclude it"


_ARCHIVES = frozenset({"zip", "x-tar", "gzip", "x-rar-compressed", "x-bzip2", "x-7z-compressed", "x-xz", "zstd"})
_FAMILIES = {
    "audio/": "audio is not text; transcribe it, or exclude it",
    "video/": "video is not text; transcribe it, or exclude it",
    "font/": "a font is not a document; exclude it",
}


def _guess(head: bytes) -> str | None:
    import filetype

    found = filetype.guess(head)
    return None if found is None else str(found.mime)


def _kind_of_zip(path: Path) -> str | None:
    try:
        with open_archive(path) as archive:
            names = archive.namelist()
            mimetype = _mimetype(archive) if "mimetype" in names else ""
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError, RuntimeError):
        return None
    for kind, folder in (("docx", "word/"), ("pptx", "ppt/"), ("xlsx", "xl/")):
        if any(name.startswith(folder) for name in names):
            return kind
    return {MEDIA_TYPES["epub"]: "epub", MEDIA_TYPES["odt"]: "odt"}.get(mimetype)


def _mimetype(archive: zipfile.ZipFile) -> str:
    if is_encrypted(archive.getinfo("mimetype")):
        raise InputError(ENCRYPTED)
    with archive.open("mimetype") as file:
        return file.read(_MIMETYPE_BYTES).decode("ascii", "replace").strip()


def _kind_of_ole(path: Path) -> str | None:
    import olefile

    try:
        with olefile.OleFileIO(str(path)) as ole:
            streams = {"/".join(entry) for entry in ole.listdir(streams=True, storages=False)}
    except (OSError, ValueError, IndexError, TypeError):
        return None
    if "EncryptedPackage" in streams:
        raise InputError(ENCRYPTED)
    for kind, stream in (
        ("msg", "__properties_version1.0"),
        ("doc", "WordDocument"),
        ("ppt", "PowerPoint Document"),
        ("xls", "Workbook"),
        ("xls", "Book"),
    ):
        if stream in streams:
            return kind
    return None


def _kind_of_text(head: bytes) -> str | None:
    wide = head.startswith(_UTF16_OR_32_BOMS) or head[:4] == b"\x00\x00\xfe\xff" or _alternates_with_nul(head)
    if not wide and _looks_binary(head):
        return None
    start = head.replace(b"\x00", b"").lstrip(b"\xff\xfe\xef\xbb\xbf") if wide else head.lstrip(b"\xef\xbb\xbf")
    start = start.replace(b"\r\n", b"\n").lstrip(b"\n")
    for kind, pattern in (("html", _HTML_START), ("xml", _XML_START), ("eml", _MAIL_START)):
        if pattern.match(start):
            return kind
    return "txt"


def _alternates_with_nul(head: bytes) -> bool:
    """Tell UTF-16 or UTF-32 without a byte order mark: every other byte of western text is then NUL."""
    return len(head) >= 8 and (
        head[1:256:2].count(0) * 3 > len(head[1:256:2]) * 2 or head[:256:2].count(0) * 3 > len(head[:256:2]) * 2
    )


def _looks_binary(head: bytes) -> bool:
    """A NUL here and there is a slip of some export; many control bytes mean that it is no text."""
    controls = sum(byte < 32 and byte not in b"\t\n\r\f\x1b\x08" for byte in head)
    return controls * 50 > len(head)
