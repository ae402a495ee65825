import os
from pathlib import Path

import pytest

from rag_pipeline.documents.parse import parse
from rag_pipeline.errors import InputError
from tests.documents.sources import parsed, source_of


@pytest.mark.parametrize("name", ["a.txt", "a.pdf", "a.html", "a.eml", "a.docx"])
def test_an_empty_file_says_so(tmp_path: Path, name: str) -> None:
    with pytest.raises(InputError, match="no text: the file is empty"):
        parsed(tmp_path / name, b"")


@pytest.mark.parametrize(
    ("name", "content"),
    [("a.txt", b" \n\n "), ("a.html", b"<html><script>x</script></html>"), ("a.txt", b"\xef\xbb\xbf")],
)
def test_a_file_without_text_says_so(tmp_path: Path, name: str, content: bytes) -> None:
    with pytest.raises(InputError, match="no text: the file holds nothing that can be read"):
        parsed(tmp_path / name, content)


def test_vendor_errors_become_one_line_with_a_remedy(tmp_path: Path) -> None:
    import zipfile

    with zipfile.ZipFile(tmp_path / "a.docx", "w") as archive:
        archive.writestr("word/document.xml", "<broken")
    with pytest.raises(InputError) as caught:
        parse(source_of(tmp_path / "a.docx"))
    assert str(caught.value).startswith("the docx cannot be read (")
    assert str(caught.value).endswith("it is probably damaged: open it and save it again")
    assert "\n" not in str(caught.value)
    assert caught.value.__cause__ is not None


def test_a_file_that_went_away_is_an_input_error(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("text")
    source = source_of(path)
    os.unlink(path)
    with pytest.raises(InputError, match="the file cannot be read: No such file or directory"):
        parse(source)


def test_language_and_title_are_recognised(tmp_path: Path) -> None:
    text = "# Wartung der Boje\n\nDie Boje kommt im November aus dem Wasser, und der Akku wird trocken gelagert.\n"
    document = parsed(tmp_path / "a.md", text)
    assert (document.language, document.title, document.media_type) == ("de", "Wartung der Boje", "text/markdown")
