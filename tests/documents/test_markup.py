import base64
from pathlib import Path

from rag_pipeline.documents.parse import parse
from tests.documents.sources import parsed, picture, source_of


def test_headings_tables_and_folded_text_of_a_page(tmp_path: Path) -> None:
    page = """<html><head><title>Heron buoy</title><script>var hidden = 1;</script></head><body>
    <h1>The buoy</h1><p>It floats on the lake and measures day and night.</p>
    <h2>Data</h2><table><tr><th>Weight</th><td>18.5 kg</td></tr></table>
    <details><summary>Is it loud?</summary><p>It makes no sound at all.</p></details>
    <form><p>Everything here is inside a form, as on some sites.</p></form></body></html>"""
    document = parsed(tmp_path / "a.html", page)
    assert [(element.text, element.depth) for element in document.elements] == [
        ("The buoy", 0),
        ("It floats on the lake and measures day and night.", None),
        ("Data", 1),
        ("Weight\t18.5 kg", None),
        ("Is it loud?", None),
        ("It makes no sound at all.", None),
        ("Everything here is inside a form, as on some sites.", None),
    ]
    assert document.title == "Heron buoy"
    assert document.elements[3].html == "<table><tr><th>Weight</th><td>18.5 kg</td></tr></table>"


def test_pictures_of_a_page_keep_caption_and_place(tmp_path: Path) -> None:
    (tmp_path / "web").mkdir()
    (tmp_path / "img").mkdir()
    local = picture(tmp_path / "img" / "a b.png")
    inline = base64.b64encode(picture(tmp_path / "img" / "c.png", colour="red").read_bytes()).decode()
    (tmp_path / "web" / "page.html").write_text(
        '<p>Before the first picture.</p><figure><img alt="A > B" src="../img/a%20b.png">'
        f'<figcaption>The boat at dawn.</figcaption></figure><p>In <img src="data:image/png;base64,{inline}"> line.</p>'
        '<img src="https://example.com/x.png" alt="Not fetched"><img src="/etc/passwd" alt="Not read">'
    )
    (tmp_path / "secret.png").write_bytes(local.read_bytes())
    source = source_of(tmp_path / "web" / "page.html")
    inside_only = parse(source)  # the root is web/: ../img lies outside
    assert [figure.width for figure in inside_only.figures] == [64]
    from rag_pipeline.documents.discover import discover, read_source

    document = parse(next(read_source(one) for one in discover([tmp_path]).files if one.path.suffix == ".html"))
    assert [element.text for element in document.elements] == [
        "Before the first picture.",
        "The boat at dawn.",
        "In   line.",
        "Not fetched  Not read",
    ]
    first, second = document.figures
    assert first.image == local.read_bytes()
    assert first.caption == "The boat at dawn.\nA > B"
    assert (first.after, first.media_type, first.width, first.height) == (0, "image/png", 64, 48)
    assert second.after == 2
    assert "The boat at dawn." in second.context


def test_markdown_goes_the_way_of_html(tmp_path: Path) -> None:
    picture(tmp_path / "p.png")
    text = (
        "# Bench\n\nThe bench *stands* in the hall of the old house.\n\n![The bench](p.png)\n\n"
        "```\nx = 1\ny = 2\n```\n\n| a | b |\n|---|---|\n| 1 | 2 |\n"
    )
    document = parsed(tmp_path / "a.md", text)
    assert [(element.text, element.category) for element in document.elements] == [
        ("Bench", "Title"),
        ("The bench stands in the hall of the old house.", "NarrativeText"),
        ("x = 1\ny = 2", "CodeSnippet"),
        ("a\tb\n1\t2", "Table"),
    ]
    assert [(figure.caption, figure.after) for figure in document.figures] == [("The bench", 1)]


def test_pandoc_reads_rst_org_and_rtf_and_includes_nothing(tmp_path: Path) -> None:
    (tmp_path / "secret.txt").write_text("top secret")
    rst = "Weeks\n=====\n\nThe first week is short.\n\n.. include:: secret.txt\n"
    document = parsed(tmp_path / "a.rst", rst)
    assert (document.elements[0].text, document.elements[0].depth) == ("Weeks", 0)
    assert "secret" not in "".join(element.text for element in document.elements)
    assert document.title == "Weeks"
    org = parsed(tmp_path / "a.org", "#+TITLE: Notes\n* Boats\nThey are blue this year.\n")
    assert (org.title, org.elements[-1].text) == ("Notes", "They are blue this year.")
    rtf = parsed(tmp_path / "a.rtf", r"{\rtf1\ansi Caf\'e9 is open all day.\par}")
    assert rtf.elements[0].text == "Café is open all day."
