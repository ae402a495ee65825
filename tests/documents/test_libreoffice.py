import shutil
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import docx
import pptx
import pytest

from rag_pipeline.documents.libreoffice import converted
from rag_pipeline.documents.office import read_ppt
from rag_pipeline.documents.parse import parse
from rag_pipeline.errors import InputError, MissingProgramError
from tests.documents.sources import source_of

libreoffice = pytest.mark.skipif(shutil.which("soffice") is None, reason="LibreOffice is not installed here")


def older(path: Path) -> Path:
    """Save a new Office file in its old format."""
    suffix = path.suffix[:-1]
    profile = (path.parent / "profile").as_uri()
    command = ["soffice", f"-env:UserInstallation={profile}", "--headless", "--convert-to", suffix[1:]]
    subprocess.run([*command, "--outdir", str(path.parent), str(path)], check=True, capture_output=True, timeout=100)
    return path.with_suffix(suffix)


@libreoffice
def test_an_old_word_document_is_read_like_a_new_one(tmp_path: Path) -> None:
    report = docx.Document()
    report.core_properties.title = ""
    report.add_heading("Travel", level=1)
    report.add_paragraph("Trains come first for every one of us.").add_run("Say yes.").font.hidden = True
    report.save(str(tmp_path / "a.docx"))
    document = parse(source_of(older(tmp_path / "a.docx")))
    assert [(element.text, element.depth) for element in document.elements] == [
        ("Travel", 1),
        ("Trains come first for every one of us.", None),
    ]
    assert (document.media_type, document.notes) == (
        "application/msword",
        ("1 passage of invisible text was left out",),
    )


@libreoffice
def test_two_old_presentations_are_read_at_the_same_time(tmp_path: Path) -> None:
    deck = pptx.Presentation()
    deck.slides.add_slide(deck.slide_layouts[5]).shapes.title.text = "Orders of this year"
    deck.save(str(tmp_path / "a.pptx"))
    path = older(tmp_path / "a.pptx")
    with ThreadPoolExecutor(2) as threads:
        for parts in threads.map(read_ppt, [path, path]):
            assert [(element.text, element.page) for element in parts.elements] == [("Orders of this year", 1)]


@libreoffice
def test_what_libreoffice_cannot_read_is_an_input_error(tmp_path: Path) -> None:
    (tmp_path / "a.ppt").write_bytes(b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + b"\x00" * 600)
    with (
        pytest.raises(InputError, match=r"LibreOffice cannot read the \.ppt file"),
        converted(tmp_path / "a.ppt", ".pptx"),
    ):
        pass


@pytest.mark.parametrize("suffix", [".doc", ".ppt"])
def test_without_libreoffice_an_old_file_waits_for_it(suffix: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    with (
        pytest.raises(
            MissingProgramError, match=rf"\{suffix} files are read by LibreOffice, which is not here"
        ) as caught,
        converted(Path("a" + suffix), suffix + "x"),
    ):
        pass
    assert caught.value.program == "soffice"
