import hashlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rag_pipeline.documents.chunk import chunk_document, document_text
from rag_pipeline.types import Box, Document, Element, Figure, Place
from tests.documents.sources import document_of, words


def characters(texts: list[str] | tuple[str, ...]) -> list[int]:
    """Every character a token, and one special token: the strictest count there is."""
    return [len(text) + 1 for text in texts]


def elements() -> st.SearchStrategy[Element]:
    text = st.text(st.sampled_from("ab é。.!?\n\t\U0001f600"), min_size=1, max_size=120).filter(
        lambda t: bool(t.strip())
    )
    body = st.builds(Element, text, st.sampled_from(["NarrativeText", "Table", "ListItem"]))
    heading = st.builds(
        Element, text.map(lambda t: t.strip()[:20].strip() or "h"), st.just("Title"), depth=st.integers(0, 3)
    )
    return body | heading


@settings(max_examples=150, deadline=None)
@given(
    st.lists(elements(), max_size=12),
    st.integers(16, 60),
    st.integers(0, 40),
    st.sampled_from([words, characters]),
    st.sampled_from(["", "The title"]),
)
def test_chunks_are_slices_within_budget_and_nothing_is_lost(
    some: list[Element], max_tokens: int, heading_tokens: int, count: object, title: str
) -> None:
    document = document_of(*some, title=title)
    text = document_text(document)
    chunks = chunk_document(document, count, max_tokens=max_tokens, heading_tokens=heading_tokens)  # type: ignore[arg-type]
    assert [chunk.position for chunk in chunks] == list(range(len(chunks)))
    end = 0
    for chunk in chunks:
        assert text[chunk.start : chunk.end] == chunk.text
        assert chunk.tokens == count([chunk.embed_text])[0] <= max_tokens  # type: ignore[operator]
        assert chunk.gap == text[end : chunk.start]
        assert not chunk.gap.strip()
        end = chunk.end
    assert not text[end:].strip()


@settings(max_examples=50, deadline=None)
@given(st.lists(st.builds(Element, st.text("ab. ", min_size=1).filter(str.strip), st.just("Text"), st.integers(1, 3))))
def test_every_character_of_an_element_is_on_its_page(some: list[Element]) -> None:
    document = document_of(*some)
    text = document_text(document)
    pages = {}
    for chunk in chunk_document(document, characters, max_tokens=16, heading_tokens=0):
        for place in chunk.places:
            pages |= dict.fromkeys(range(place.start, place.end), place.page)
    start = 0
    for element in some:
        end = start + len(element.text)
        assert {pages[i] for i in range(start, end) if not text[i].isspace()} == {element.page}
        start = end + 2


def test_a_chunk_begins_at_a_heading_and_knows_its_path() -> None:
    document = document_of(
        Element("Warranty", "Title", 1, 0),
        Element("The probe is covered for three years from the day of delivery.", "NarrativeText", 1),
        Element("Claims", "Title", 1, 1),
        Element(
            "Write to us within a month and send the serial number along.", "NarrativeText", 2, box=Box(2, 0, 0, 1, 1)
        ),
        title="Manual",
    )
    first, second = chunk_document(document, words, max_tokens=24, heading_tokens=8)
    assert first.text == "Warranty\n\nThe probe is covered for three years from the day of delivery."
    assert (first.heading, first.pages, first.categories) == (("Manual", "Warranty"), (1,), ("Title", "NarrativeText"))
    assert second.text == "Claims\n\nWrite to us within a month and send the serial number along."
    assert (second.heading, second.pages) == (("Manual", "Warranty", "Claims"), (1, 2))
    assert first.places == (Place(0, 72, 1),)
    assert second.places == (Place(74, 80, 1), Place(82, 142, 2, Box(2, 0, 0, 1, 1)))
    assert (first.gap, second.gap) == ("", "\n\n")
    assert second.tokens == 5 + 1 + 12 + 2  # the path with its two ">", then the text and two special tokens


def test_small_sections_share_a_chunk_under_the_heading_they_have_in_common() -> None:
    some = [Element("Bench", "Title", depth=0)]
    for name in ("Bath", "Buffers"):
        some += [Element(name, "Title", depth=1), Element(f"About the {name}.", "NarrativeText")]
    (chunk,) = chunk_document(document_of(*some), words, max_tokens=60, heading_tokens=20)
    assert chunk.heading == ("Bench",)


def test_headings_never_fill_a_chunk_by_themselves() -> None:
    long = " ".join(f"word{n}" for n in range(60)) + "."
    document = document_of(
        Element("Part", "Title", depth=0), Element("Chapter", "Title", depth=1), Element(long, "Text")
    )
    chunks = chunk_document(document, words, max_tokens=20, heading_tokens=8)
    assert chunks[0].text.startswith("Part\n\nChapter\n\nword0")
    assert all(chunk.heading == ("Part", "Chapter") for chunk in chunks)


def test_the_deepest_headings_are_kept_when_the_path_is_too_long() -> None:
    document = document_of(
        Element("One two three four", "Title", depth=0),
        Element("Five six seven", "Title", depth=1),
        Element("Text.", "NarrativeText"),
    )
    (chunk,) = chunk_document(document, words, max_tokens=40, heading_tokens=5)
    assert chunk.heading == ("Five six seven",)


def test_long_text_is_split_at_sentences_then_words() -> None:
    document = document_of(Element("One two three. Four five six. Seven eight.", "NarrativeText"))
    chunks = chunk_document(
        document, lambda texts: [2 * len(t.split()) + 2 for t in texts], max_tokens=16, heading_tokens=0
    )
    assert [chunk.text for chunk in chunks] == ["One two three. Four five six.", "Seven eight."]
    (long,) = [Element("“" + " ".join(["lake"] * 30) + "”", "NarrativeText")]
    assert [len(c.text.split()) for c in chunk_document(document_of(long), words, max_tokens=16, heading_tokens=0)] == [
        14,
        14,
        2,
    ]


def test_a_table_is_split_between_rows_and_shown_as_html_once() -> None:
    rows = [f"row {n}\t{n}" for n in range(12)]
    table = Element("\n".join(rows), "Table", 3, html="<table/>")
    chunks = chunk_document(document_of(table), words, max_tokens=20, heading_tokens=0)
    assert [chunk.text for chunk in chunks] == ["\n".join(rows[:6]), "\n".join(rows[6:])]
    assert [chunk.tables for chunk in chunks] == [("<table/>",), ()]
    assert [chunk.pages for chunk in chunks] == [(3,), (3,)]


def test_figures_follow_the_text_at_their_place() -> None:
    base = document_of(Element("Trial", "Title", 1, 0), Element("Some text.", "NarrativeText", 1), title="Report")
    image = b"bytes of a picture"
    box = Box(2, 0.1, 0.1, 0.5, 0.5)
    figure = Figure(image, "image/png", 64, 64, "Figure 1", " ".join(["context"] * 50), 2, box, after=1)
    document = Document(base.source, base.elements, (figure,), "en", title="Report")
    text, chunk = chunk_document(document, words, max_tokens=20, heading_tokens=8)
    assert text.figure is None
    assert chunk.text.startswith("Figure 1\ncontext context")
    assert chunk.tokens <= 20
    assert (chunk.position, chunk.start, chunk.end, chunk.heading) == (1, 17, 17, ("Report", "Trial"))
    assert (chunk.categories, chunk.places, chunk.language) == (("Image",), (Place(17, 17, 2, box),), "en")
    assert chunk.figure == hashlib.sha256(image).hexdigest()


def test_a_picture_alone_is_a_chunk() -> None:
    base = document_of(title="")
    document = Document(base.source, (), (Figure(b"x", "image/png", 64, 64, "pump station"),))
    (chunk,) = chunk_document(document, words, max_tokens=32, heading_tokens=8)
    assert (chunk.text, chunk.start, chunk.end, chunk.heading) == ("pump station", 0, 0, ())


def test_tokens_are_counted_in_few_calls() -> None:
    calls = []

    def counting(texts: list[str] | tuple[str, ...]) -> list[int]:
        calls.append(len(texts))
        return words(texts)

    some = [Element(f"Paragraph {n} has a few words.", "NarrativeText") for n in range(2000)]
    chunk_document(document_of(*some), counting, max_tokens=64, heading_tokens=8)  # type: ignore[arg-type]
    assert len(calls) <= 5


@pytest.mark.parametrize("size", [1_000_000])
def test_a_megabyte_without_a_space_is_cut(size: int) -> None:
    chunks = chunk_document(document_of(Element("x" * size, "Text")), characters, max_tokens=512, heading_tokens=0)
    assert sum(len(chunk.text) for chunk in chunks) == size
    assert max(chunk.tokens for chunk in chunks) <= 512
