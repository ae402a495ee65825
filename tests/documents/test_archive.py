import struct
import zipfile
from pathlib import Path

import pytest

from rag_pipeline.documents.archive import ENCRYPTED, check_archive, open_archive
from rag_pipeline.documents.kinds import kind_of
from rag_pipeline.errors import InputError


def zipped(path: Path, members: dict[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> Path:
    with zipfile.ZipFile(path, "w", method) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return path


def bomb(path: Path, size_mb: int) -> Path:
    """A document with zeros in it, a thousandth of their size."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("word/document.xml", "<w/>")
        with archive.open("word/media/image1.bin", "w") as member:
            for _ in range(size_mb):
                member.write(bytes(10**6))
    return path


def directory_entries(content: bytes) -> list[int]:
    """Where the entries of a zip's directory start."""
    found, start = [], 0
    while (start := content.find(b"PK\x01\x02", start)) >= 0:
        found.append(start)
        start += 4
    return found


def test_what_unpacks_to_a_hundred_megabytes_is_fine_and_more_only_in_proportion(tmp_path: Path) -> None:
    check_archive(bomb(tmp_path / "small.docx", 99), max_expansion=200)
    large = bomb(tmp_path / "large.docx", 101)
    with pytest.raises(InputError, match=r"unpack to 101 MB, 1,\d\d\d times its size; .* raise ingest.max_expansion"):
        check_archive(large, max_expansion=200)
    check_archive(large, max_expansion=2000)


def test_parts_that_lie_in_each_other_are_refused(tmp_path: Path) -> None:
    path = zipped(tmp_path / "a.docx", {"word/document.xml": b"x" * 1000, "word/b.xml": b"y"}, zipfile.ZIP_STORED)
    check_archive(path, 200)
    content = bytearray(path.read_bytes())
    struct.pack_into("<L", content, directory_entries(content)[1] + 42, 10)  # the offset of the second member
    path.write_bytes(content)
    with pytest.raises(InputError, match="overlap"):
        check_archive(path, 200)


def test_members_under_a_password_are_named_as_such(tmp_path: Path) -> None:
    path = zipped(tmp_path / "a.docx", {"word/document.xml": b"<w/>"})
    content = bytearray(path.read_bytes())
    content[directory_entries(content)[0] + 8] |= 1
    path.write_bytes(content)
    with pytest.raises(InputError, match="encrypted; remove its password"):
        check_archive(path, 200)


def test_encrypted_open_documents_and_books_are_told_from_scrambled_fonts(tmp_path: Path) -> None:
    odt = {"mimetype": b"application/vnd.oasis.opendocument.text"}
    book = {"mimetype": b"application/epub+zip"}
    check_archive(zipped(tmp_path / "plain.odt", {**odt, "META-INF/manifest.xml": b"<manifest/>"}), 200)
    fonts = b'<EncryptionMethod Algorithm="http://www.idpf.org/2008/embedding"/>'
    check_archive(zipped(tmp_path / "fonts.epub", {**book, "META-INF/encryption.xml": fonts}), 200)
    locked = b'<EncryptionMethod Algorithm="http://www.w3.org/2001/04/xmlenc#aes128-cbc"/>'
    for name, members in {
        "locked.odt": {**odt, "META-INF/manifest.xml": b"<manifest:encryption-data/>"},
        "locked.epub": {**book, "META-INF/encryption.xml": locked},
    }.items():
        with pytest.raises(InputError) as caught:
            check_archive(zipped(tmp_path / name, members), 200)
        assert str(caught.value) == ENCRYPTED


def test_too_many_parts_are_refused_and_a_huge_directory_is_not_even_read(tmp_path: Path) -> None:
    path = tmp_path / "a.docx"
    with zipfile.ZipFile(path, "w") as archive:
        for number in range(50_001):
            archive.writestr(zipfile.ZipInfo(str(number)), b"")
    with pytest.raises(InputError, match="more than 50,000 parts"):
        check_archive(path, 200)
    with zipfile.ZipFile(path, "w") as archive:
        for number in range(200):
            archive.writestr(zipfile.ZipInfo(f"{number:060000}"), b"")
    with pytest.raises(InputError, match="more than 50,000 parts"):
        kind_of(path)


def test_a_zip_whose_type_is_long_is_read_no_further_than_a_type_goes(tmp_path: Path) -> None:
    path = zipped(tmp_path / "a.epub", {"mimetype": b"application/epub+zip" + b" " * 1000})
    assert kind_of(path) == "epub"


def test_no_zip_is_the_callers_matter(tmp_path: Path) -> None:
    (tmp_path / "a.zip").write_bytes(b"PK\x03\x04 and no more")
    with pytest.raises(zipfile.BadZipFile), open_archive(tmp_path / "a.zip"):
        pass
