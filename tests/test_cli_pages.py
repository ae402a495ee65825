"""`rag search --context` and `--page-images`: what is shown with a hit, and the pages as files."""

from pathlib import Path

import pytest
from PIL import Image
from reportlab.pdfgen.canvas import Canvas

from tests.command_line import document, rag

SECTIONS = ("Warranty", "Cleaning")


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A PDF of two pages, each a heading and four paragraphs too long to share a chunk, and a text without pages."""
    folder = tmp_path_factory.mktemp("documents")
    canvas = Canvas(str(folder / "manual.pdf"), pagesize=(500, 400))
    for heading in SECTIONS:
        canvas.setFont("Helvetica-Bold", 18)
        canvas.drawString(40, 370, heading)
        canvas.setFont("Helvetica", 10)
        for number in range(4):
            canvas.drawString(40, 330 - 40 * number, f"{heading} rule {number}: " + f"{heading.lower()} and water " * 3)
        canvas.showPage()
    canvas.save()
    (folder / "notes.md").write_text("# Boat\n\nThe boat is moored in Lindau.\n", encoding="utf-8")
    settings = folder.with_name("settings.yaml")
    settings.write_text("chunking: {max_tokens: 48}\nreranker: null\n")
    document(rag("ingest", folder, "--index", folder.with_name("rag"), "--config", settings, "--json"))
    return folder.with_name("rag")


def search(index: Path, *arguments: object) -> list[dict[str, object]]:
    config = index.with_name("settings.yaml")
    done = rag("search", *arguments, "--mode", "sparse", "--config", config, "--index", index, "--json")
    hits: list[dict[str, object]] = document(done)["hits"]
    return hits


@pytest.mark.soak
def test_a_hit_is_shown_alone_with_its_neighbours_or_with_its_section(index: Path) -> None:
    asked = ("cleaning rule 2", "--top-k", 1)
    (alone,), (beside,), (section,) = (
        search(index, *asked, "--context", name) for name in ("none", "neighbours", "section")
    )
    assert "rule 2" in str(alone["text"])
    for larger in (beside, section):
        assert str(alone["text"]) in str(larger["text"])
        assert (larger["id"], larger["score"], larger["page"]) == (alone["id"], alone["score"], 2)
    assert [f"Cleaning rule {number}" in str(section["text"]) for number in range(4)] == [True] * 4
    assert "Warranty rule" not in str(section["text"])
    whole = rag("search", *map(str, asked), "--mode", "sparse", "--context", "section", "--config",
                index.with_name("settings.yaml"), "--index", index).stdout  # fmt: skip
    assert "Cleaning rule 0" in whole, "a person sees all of it, too"


def test_pages_are_written_with_their_marks(index: Path, tmp_path: Path) -> None:
    (hit,) = search(index, "warranty rule 3", "--top-k", 1, "--page-images", tmp_path / "pages")
    image = hit["image"]
    assert isinstance(image, dict)
    assert image["file"] == str(tmp_path / "pages" / "001-manual-page-1.png")
    with Image.open(image["file"]) as picture:
        assert picture.size == (1000, 800)
    assert {box["page"] for box in image["boxes"]} == {1}
    assert search(index, "boat moored", "--top-k", 1, "--page-images", tmp_path / "pages")[0]["image"] is None


def test_a_folder_that_cannot_be_written_to_is_a_configuration_error(index: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    done = rag("search", "warranty", "--mode", "sparse", "--config", index.with_name("settings.yaml"), "--index", index,
               "--page-images", tmp_path / "file")  # fmt: skip
    assert done.returncode == 2
    assert "cannot write" in done.stderr
    assert done.stderr.endswith("name another --page-images folder\n")
