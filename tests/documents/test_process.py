import time
from pathlib import Path

from rag_pipeline.documents.messages import Busy, OutOfMemory, Parsed, Refused, Reply, Task, decode_reply
from rag_pipeline.documents.options import ParseOptions
from rag_pipeline.documents.process import Parse, _answer
from rag_pipeline.errors import InputError, MissingProgramError, UnavailableError
from rag_pipeline.types import Document, Element, SourceFile

SOURCE = SourceFile(Path("/a.txt"), Path("/"), 3, 5, "0" * 64)
OPTIONS = ParseOptions(max_pages=3)


class Parser:
    """Meets what it is given, one after the other."""

    def __init__(self, *errors: BaseException) -> None:
        self.errors = list(errors)
        self.asked: list[tuple[SourceFile, ParseOptions]] = []

    def __call__(self, source: SourceFile, options: ParseOptions) -> Document:
        self.asked.append((source, options))
        if self.errors:
            raise self.errors.pop(0)
        return Document(source, (Element("read", "Title"),))


def answer(parse: Parse) -> Reply:
    return decode_reply(_answer(parse, Task(SOURCE, OPTIONS)), SOURCE)


def test_a_document_is_read_with_the_options_of_its_task() -> None:
    parser = Parser()
    assert answer(parser) == Parsed(Document(SOURCE, (Element("read", "Title"),)))
    assert parser.asked == [(SOURCE, OPTIONS)]


def test_what_fails_for_a_moment_is_tried_three_times_with_growing_pauses() -> None:
    parser = Parser(UnavailableError("first"), UnavailableError("second"))
    started = time.monotonic()
    assert isinstance(answer(parser), Parsed)
    assert 0.5 < time.monotonic() - started < 2  # 0.2 s and 0.4 s
    never = Parser(*(UnavailableError(str(number)) for number in range(9)))
    assert answer(never) == Busy("2")
    assert len(never.asked) == 3


def test_what_is_wrong_with_the_file_is_said_once_and_keeps_its_class() -> None:
    for error, reply in (
        (InputError("broken"), Refused("broken")),
        (MissingProgramError("install it", "soffice"), Refused("install it", "soffice")),
        (InputError("no such file: a\udcff"), Refused("no such file: a?")),
        (MemoryError(), OutOfMemory()),
    ):
        parser = Parser(error)
        assert answer(parser) == reply
        assert len(parser.asked) == 1
