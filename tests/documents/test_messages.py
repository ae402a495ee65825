import socket
from pathlib import Path
from typing import Any

import msgspec
import pytest

from rag_pipeline.documents.messages import (
    MAX_MESSAGE_BYTES,
    Busy,
    Inbox,
    OutOfMemory,
    Parsed,
    Ready,
    Refused,
    Reply,
    Task,
    decode_reply,
    encode,
    read_task,
    send,
)
from rag_pipeline.documents.options import ParseOptions
from rag_pipeline.errors import InputError
from rag_pipeline.types import Attachment, Box, Document, Element, Figure, SourceFile

SOURCE = SourceFile(Path("/a\udcff.txt"), Path("/"), 3, 5, "0" * 64)
OTHER = SourceFile(Path("/etc/shadow"), Path("/etc"), 1, 1, "1" * 64)
DOCUMENT = Document(
    SOURCE,
    elements=(Element("text", "Title", 1, 0, "<b>text</b>", Box(1, 0.0, 0.25, 0.5, 1.0)),),
    figures=(Figure(b"\x89PNG", "image/png", 3, 4, "caption", "context", 2, Box(2, 0, 0, 1, 1), 0),),
    language="en",
    media_type="text/plain",
    title="title",
    notes=("a note",),
    attachments=(Attachment("a.bin", b"\xff"),),
    lacking=("tesseract",),
    named=True,
)


@pytest.mark.parametrize(
    "reply",
    [Ready(), Parsed(DOCUMENT), Refused("no"), Refused("no", "soffice"), Busy("later"), OutOfMemory()],
    ids=lambda reply: type(reply).__name__,
)
def test_replies_arrive_as_they_were_sent(reply: Reply) -> None:
    assert decode_reply(encode(reply), SOURCE) == reply


def test_a_task_arrives_with_a_name_that_is_no_unicode_until_the_line_is_closed() -> None:
    ours, theirs = socket.socketpair()
    with theirs:
        with ours:
            send(ours, encode(Task(SOURCE, ParseOptions(max_pages=7, ocr="off"))))
            assert read_task(theirs) == Task(SOURCE, ParseOptions(max_pages=7, ocr="off"))
        assert read_task(theirs) is None


def test_the_source_is_the_one_that_was_asked_for() -> None:
    lied = encode(Parsed(Document(OTHER, elements=(Element("x", "Title"),))))
    reply = decode_reply(lied, SOURCE)
    assert isinstance(reply, Parsed)
    assert reply.document.source == SOURCE


def parsed_with(**values: Any) -> bytes:
    source = {"path": b"/a", "root": b"/", "size": 1, "mtime_ns": 1, "content_hash": "0" * 64}
    return msgspec.msgpack.encode({"type": "parsed", "document": {"source": source, "elements": [], **values}})


@pytest.mark.parametrize(
    "encoded",
    [
        b"",
        b"\x80\x04\x95",  # how a pickle starts
        msgspec.msgpack.encode({"type": "exec"}),
        msgspec.msgpack.encode({"type": "refused", "message": 5}),
        parsed_with(elements=[{"text": " ", "category": "Title"}]),
        parsed_with(elements=[{"text": "x", "category": "Title", "page": "first"}]),
        parsed_with(elements=[{"text": "x", "category": "T", "box": {"page": 1, "left": float("nan"), "top": 0,
                                                                     "right": 1, "bottom": 1}}]),
        b"\x91" * 100_000,  # arrays in arrays
    ],
)  # fmt: skip
def test_what_is_no_reply_is_the_files_fault(encoded: bytes) -> None:
    with pytest.raises(InputError, match="did not return a document"):
        decode_reply(encoded, SOURCE)


@pytest.mark.parametrize("name", ["", ".", "..", "../x", "/etc/passwd", "a\0b"])
def test_an_attachments_name_leads_nowhere(name: str) -> None:
    assert isinstance(decode_reply(parsed_with(attachments=[{"name": "fine.txt", "content": b""}]), SOURCE), Parsed)
    with pytest.raises(InputError, match="name that leads elsewhere"):
        decode_reply(parsed_with(attachments=[{"name": name, "content": b""}]), SOURCE)


def test_text_that_is_no_unicode_and_too_much_of_it_are_input_errors() -> None:
    with pytest.raises(InputError, match="no valid Unicode"):
        encode(Parsed(Document(SOURCE, elements=(Element("a\ud800", "Title"),))))
    with pytest.raises(InputError, match="more than 268 MB of text and pictures; split it"):
        encode(Parsed(Document(SOURCE, (), attachments=(Attachment("a", bytes(MAX_MESSAGE_BYTES)),))))


def test_an_inbox_never_waits_for_the_rest_and_takes_no_huge_message() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        inbox = Inbox(ours)
        assert inbox.take() is None
        theirs.sendall(b"\0\0\0\3ab")
        assert inbox.take() is None
        theirs.sendall(b"c\0\0\0\1d\0\0")
        assert inbox.take() == b"abc"
        assert inbox.take() == b"d"
        assert inbox.take() is None
        theirs.sendall(b"\0\0" + b"\xff\xff\xff\xff")
        assert inbox.take() == b""
        with pytest.raises(InputError, match="split it"):
            inbox.take()
        theirs.close()
        with pytest.raises(EOFError):
            Inbox(ours).take()
