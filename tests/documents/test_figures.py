from pathlib import Path

import pytest
from PIL import Image, PngImagePlugin

from rag_pipeline.documents.figures import make_figures
from rag_pipeline.documents.parse import parse
from rag_pipeline.documents.partition import Picture
from rag_pipeline.errors import InputError
from rag_pipeline.types import Element
from tests.documents.sources import parsed, picture, source_of


def test_a_picture_file_is_captioned_by_its_name_or_by_what_it_says(tmp_path: Path) -> None:
    named = parse(source_of(picture(tmp_path / "pump_station-north.png")))
    assert (named.elements, named.figures[0].caption, named.media_type) == ((), "pump station north", "image/png")
    info = PngImagePlugin.PngInfo()
    info.add_text("Description", "The northern pump")
    Image.new("RGB", (40, 40)).save(tmp_path / "x.png", pnginfo=info)
    assert parse(source_of(tmp_path / "x.png")).figures[0].caption == "The northern pump"


def test_exif_describes_a_photo(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[270] = "Boat at the pier"
    Image.new("RGB", (40, 40)).save(tmp_path / "IMG_1.jpg", exif=exif)
    document = parse(source_of(tmp_path / "IMG_1.jpg"))
    assert (document.figures[0].caption, document.media_type) == ("Boat at the pier", "image/jpeg")


def test_tiny_and_broken_pictures_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="has 16 x 16 pixels"):
        parse(source_of(picture(tmp_path / "dot.png", (16, 16))))
    with pytest.raises(InputError, match="the picture is damaged"):
        parsed(tmp_path / "cut.png", picture(tmp_path / "ok.png").read_bytes()[:60])


def test_decoration_and_doubles_are_left_out_and_captions_found(tmp_path: Path) -> None:
    one = picture(tmp_path / "one.png").read_bytes()
    two = picture(tmp_path / "two.png", colour="red").read_bytes()
    dot = picture(tmp_path / "dot.png", (8, 8)).read_bytes()
    elements = [
        Element("Before.", "NarrativeText", 1),
        Element("Fig. 2: The pier", "Text", 1),
        Element("Far.", "Text", 2),
    ]
    pictures = [
        Picture(dot, after=0),
        Picture(one, alt="image1.png", after=0, page=1),
        Picture(one, after=1),
        Picture(two, alt="Red", after=2),
        Picture(b"no picture"),
    ]
    first, second = make_figures(pictures, elements, "title")
    assert (first.caption, first.context, first.after) == ("Fig. 2: The pier", "Before.\nFig. 2: The pier", 0)
    assert (second.caption, second.page) == ("Red", 2)


def test_a_picture_of_which_nothing_is_said_gets_the_fallback(tmp_path: Path) -> None:
    (figure,) = make_figures([Picture(picture(tmp_path / "a.png").read_bytes())], [], "The report")
    assert (figure.caption, figure.context) == ("The report", "")
