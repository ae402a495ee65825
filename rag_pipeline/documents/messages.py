"""What the parent and a parsing process say to each other: values in, bytes out, and back again.

A document may take over the process that parses it. What comes from there is therefore data of known types and of
bounded size, never pickle, and the parent never waits for the rest of a message. This module knows nothing of parsers.

A message is its length in 4 bytes, big-endian, and then msgpack. Paths travel as bytes: a name need not be Unicode.
"""

from __future__ import annotations

import os
import socket
import struct
from dataclasses import replace
from pathlib import Path

import msgspec

from rag_pipeline.documents.options import ParseOptions
from rag_pipeline.errors import InputError
from rag_pipeline.types import Document, SourceFile

__all__ = [
    "MAX_MESSAGE_BYTES", "Busy", "Inbox", "OutOfMemory", "Parsed", "Ready", "Refused", "Reply", "Task",
    "decode_reply", "encode", "read_task", "send",
]  # fmt: skip

MAX_MESSAGE_BYTES = 256 * 2**20
_LENGTH = struct.Struct(">I")


class Task(msgspec.Struct, frozen=True):
    """A file to parse."""

    source: SourceFile
    options: ParseOptions


class Ready(msgspec.Struct, frozen=True, tag="ready"):
    """The parsers are loaded: the clock of the first file starts."""


class Parsed(msgspec.Struct, frozen=True, tag="parsed"):
    """The file's document."""

    document: Document


class Refused(msgspec.Struct, frozen=True, tag="refused"):
    """The file cannot be read, or not without ``program``, where one is named."""

    message: str
    program: str = ""


class Busy(msgspec.Struct, frozen=True, tag="busy"):
    """The file could not be read this time."""

    message: str


class OutOfMemory(msgspec.Struct, frozen=True, tag="out of memory"):
    """The file needs more memory than a parser may have."""


Reply = Ready | Parsed | Refused | Busy | OutOfMemory


class Inbox:
    """Puts messages together from what has arrived on ``line``, and never waits for the rest."""

    def __init__(self, line: socket.socket) -> None:
        line.setblocking(False)
        self._line = line
        self._length: int | None = None
        self._buffer = bytearray()

    def take(self) -> bytearray | None:
        """Return the next message if all of it is here, else None.

        Raises:
            EOFError: the other side has closed the line.
            InputError: a message is announced that is longer than any may be.
        """
        while True:
            wanted = _LENGTH.size if self._length is None else self._length
            if len(self._buffer) == wanted:
                taken, self._buffer = self._buffer, bytearray()
                if self._length is not None:
                    self._length = None
                    return taken
                (self._length,) = _LENGTH.unpack(taken)
                if self._length > MAX_MESSAGE_BYTES:
                    raise InputError(too_large())
                continue
            try:
                received = self._line.recv(min(wanted - len(self._buffer), 2**20))
            except BlockingIOError:
                return None
            except ConnectionError as exc:
                raise EOFError from exc
            if not received:
                raise EOFError
            self._buffer += received


def too_large() -> str:
    """Say that a document has more in it than is taken from a parser."""
    return f"the file holds more than {MAX_MESSAGE_BYTES / 1e6:.0f} MB of text and pictures; split it"


def encode(message: Task | Reply) -> bytes:
    """Return a message as bytes.

    Raises:
        InputError: it is longer than any may be, or has text in it that is no Unicode.
    """
    try:
        encoded = _ENCODER.encode(message)
    except UnicodeEncodeError as exc:
        raise InputError("the file holds text that is no valid Unicode; save it again as UTF-8") from exc
    if len(encoded) > MAX_MESSAGE_BYTES:
        raise InputError(too_large())
    return encoded


def send(line: socket.socket, encoded: bytes) -> None:
    """Write a message to the line."""
    line.sendall(_LENGTH.pack(len(encoded)))
    line.sendall(encoded)


def decode_reply(encoded: bytes | bytearray, source: SourceFile) -> Reply:
    """Return what a parser has said of ``source``.

    Raises:
        InputError: it is none of the replies, or its values are impossible.
    """
    try:
        reply = _REPLIES.decode(encoded)
    except (msgspec.DecodeError, ValueError, RecursionError) as exc:
        raise InputError(f"the parser did not return a document ({str(exc)[:120]}); convert the file to PDF") from exc
    if not isinstance(reply, Parsed):
        return reply
    for attachment in reply.document.attachments:
        if attachment.name in ("", ".", "..") or "/" in attachment.name or "\0" in attachment.name:
            raise InputError("the parser returned an attachment under a name that leads elsewhere; exclude the file")
    return Parsed(replace(reply.document, source=source))


def read_task(line: socket.socket) -> Task | None:
    """Wait for the next file; None once the parent has closed the line."""
    header = _read(line, _LENGTH.size)
    if len(header) < _LENGTH.size:
        return None
    (length,) = _LENGTH.unpack(header)
    return _TASKS.decode(_read(line, length))


def _read(line: socket.socket, length: int) -> bytes:
    read = b""
    while len(read) < length and (more := line.recv(length - len(read))):
        read += more
    return read


def _to_bytes(value: object) -> bytes:
    if isinstance(value, Path):
        return os.fsencode(value)
    raise NotImplementedError(f"{type(value).__name__} is in no message")


def _to_path(kind: type, value: object) -> Path:
    if issubclass(kind, Path) and isinstance(value, bytes):
        return Path(os.fsdecode(value))
    raise ValueError(f"{kind.__name__} is in no message")


_ENCODER = msgspec.msgpack.Encoder(enc_hook=_to_bytes)
_REPLIES: msgspec.msgpack.Decoder[Reply] = msgspec.msgpack.Decoder(Reply, dec_hook=_to_path)
_TASKS = msgspec.msgpack.Decoder(Task, dec_hook=_to_path)
