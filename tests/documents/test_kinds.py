import zipfile
from pathlib import Path

import pytest

from rag_pipeline.documents.kinds import kind_of
from rag_pipeline.errors import InputError


@pytest.mark.parametrize(
    ("name", "content", "kind"),
    [
        ("a.docx", b"%PDF-1.7\n", "pdf"),
        ("a.pdf", b"<html><body>x</body></html>", "html"),
        ("a.txt", b"\x89PNG\r\n\x1a\n" + bytes(30), "image"),
        ("a.docx", b"just words", "txt"),
        ("a.csv", b"a,b\n1,2\n", "csv"),
        ("a.md", b"<!DOCTYPE html><html>", "md"),
        ("a.doc", b"{\\rtf1 hello}", "rtf"),
        ("a.txt", "grüß".encode("utf-16-le") * 9, "txt"),
        ("a.txt", b"\xff\xfe" + "grüß".encode("utf-16-le"), "txt"),
        ("a.p7s", b"MIME-Version: 1.0\r\nContent-Type: multipart/signed\r\n\r\nx", "eml"),
        ("memo.txt", b"Date: today\nFrom: me\n\nWe meet at noon.", "txt"),
    ],
)
def test_content_is_trusted_over_the_suffix(tmp_path: Path, name: str, content: bytes, kind: str) -> None:
    (tmp_path / name).write_bytes(content)
    assert kind_of(tmp_path / name) == kind


def test_office_formats_are_told_apart_inside_their_zip(tmp_path: Path) -> None:
    for kind, entry in (("docx", "word/document.xml"), ("pptx", "ppt/presentation.xml"), ("xlsx", "xl/workbook.xml")):
        path = tmp_path / f"{kind}.docx"
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr(entry, "<x/>")
        assert kind_of(path) == kind


def test_a_damaged_file_is_named_as_such(tmp_path: Path) -> None:
    path = tmp_path / "cut.docx"
    path.write_bytes(b"PK\x03\x04" + b"\x01" * 100)
    with pytest.raises(
        InputError, match=r"not that of a \.docx file: it is damaged, cut off or misnamed; save it again"
    ):
        kind_of(path)
