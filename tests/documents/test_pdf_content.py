"""The tokenizer against pdfminer's own, which is the oracle here."""

import pytest
from pdfminer.pdfinterp import PDFContentParser
from pdfminer.pdftypes import PDFStream
from pdfminer.psexceptions import PSEOF
from pdfminer.psparser import PSKeyword

from rag_pipeline.documents import pdf_content


def theirs(data: bytes) -> list[tuple[bytes, list[object]]]:
    parser = PDFContentParser([PDFStream({}, data)])
    program: list[tuple[bytes, list[object]]] = []
    stack: list[object] = []
    while True:
        try:
            _, token = parser.nextobject()
        except PSEOF:
            return program
        if isinstance(token, PSKeyword):
            program.append((token.name, stack))
            stack = []
        else:
            stack.append(token)


@pytest.mark.parametrize(
    "data",
    [
        b"BT /F1 12 Tf 1 0 0 1 72.5 -.5 Tm (Hello) Tj ET",
        b"[(A) -120.5 (B\\)C) <41 42\n43>] TJ",
        b"(one (nested) pair) Tj (line\\\nend \\101\\7 \\n) '",
        b"% a comment\n1 2 Td%more\n[] 0 Tc T*",
        b"/P <</MCID 0 /X [1 2]>> Tj /N#20x 1",
        b'1 2 (s) " true false Tr',
        b"<> Tj () Tj +5. Tc",
        b"(\r\n raw) Tj",
    ],
)
def test_streams_are_cut_as_pdfminer_cuts_them(data: bytes) -> None:
    try:
        ours = pdf_content._program(data)
    except pdf_content._UnknownSyntaxError:
        assert b"#" in data  # left to pdfminer
        return
    assert ours == theirs(data)


@pytest.mark.parametrize(
    "data", [b"(open Tj", b"[1 2 Tj", b"1 2 ] TJ", b"1.2.3 Td", b"{ 1 } x", b"<414> Tj", b"((((" * 999]
)
def test_what_is_not_well_formed_is_left_to_pdfminer(data: bytes) -> None:
    with pytest.raises(pdf_content._UnknownSyntaxError):
        pdf_content._program(data)


def test_an_inline_picture_is_one_object_and_its_bytes_are_no_operators() -> None:
    program = pdf_content._program(b"q BI /W 2 /H 2 /BPC 8 /CS /G ID (\x00( EI Q (after) Tj")
    assert [name for name, _ in program] == [b"q", b"EI", b"Q", b"Tj"]
    (picture,) = program[1][1]
    assert (picture["W"], picture["H"], picture.rawdata) == (2, 2, b"(\x00(")
