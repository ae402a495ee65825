"""What a notebook shows: readable, and whatever a document, a path or a model says becomes text and nothing else."""

from collections.abc import Callable
from dataclasses import replace
from html.parser import HTMLParser

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rag_pipeline.evidence import Answer, Citation, Evidence, Hits
from rag_pipeline.retrieval.trace import Trace
from rag_pipeline.types import FusedHit, Hit, LegRank

HOSTILE = [
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "<a href='javascript:alert(1)'>here</a>",
    "</div></div><iframe src=//elsewhere>",
    "<style>body{display:none}</style>",
    "&lt;b&gt; &amp;#x3c;script",
    "<!-- ", "]]>", "\x00\x1b[31m", "a\ud800b",
]  # fmt: skip


class Seen(HTMLParser):
    """The tags, the attributes and the text of a page, as a browser would see them."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: set[str] = set()
        self.attributes: set[str] = set()
        self.styles: set[str] = set()
        self.open: list[str] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.open.append(tag)
        self.attributes |= {name for name, _ in attrs}
        self.styles |= {value or "" for name, value in attrs if name == "style"}

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data

    def handle_comment(self, data: str) -> None:
        raise AssertionError(f"a comment: {data!r}")

    def unknown_decl(self, data: str) -> None:
        raise AssertionError(f"a declaration: {data!r}")


def seen(html: str) -> Seen:
    html.encode()  # what a notebook writes to disk is UTF-8
    page = Seen()
    page.feed(html)
    page.close()
    assert page.open == []
    assert page.tags <= {"div", "b", "code", "span", "table", "tr", "th", "td"}
    assert page.attributes <= {"style", "dir"}
    assert not any("url" in style or "expression" in style for style in page.styles)
    return page


def hit(text: str) -> Evidence:
    return Evidence(
        id=text, rank=1, score=0.5, path=text, text=f"begin {text} end", page=3, heading=(text, text), boxes=(),
        legs={text: LegRank(2, 0.25)}, paths=(text, f"{text}2"), tables=(text,), figure=text, merged=(text,),
    )  # fmt: skip


def citation(text: str) -> Citation:
    return Citation(1, text, 3, f"begin {text} end", 0, 5, (), heading=(text,), figure=text)


def answer(text: str) -> Answer:
    return Answer(f"begin {text} end [1]", (citation(text),), abstained=False, dropped=(text,))


def abstention(text: str) -> Answer:
    return Answer("begin end", (), abstained=True, reason=text)


def trace(text: str) -> Trace:
    made = Trace()
    made.record_query(f"begin {text} end", "hybrid")
    legs = {"dense": LegRank(1, 0.5, 0.1)}
    made.record_search(
        {"dense": [Hit(text, 1, 0.5)]}, [FusedHit(text, 1, 0.1, legs)], depth=5, exact=True, formula=text
    )
    made.record_places({text: text})
    return made


@pytest.mark.parametrize("made", [hit, citation, answer, abstention, trace, lambda text: Hits([hit(text)] * 2)])
@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_text_is_shown_as_text(made: Callable[[str], object], text: str) -> None:
    page = seen(made(text)._repr_html_())  # type: ignore[attr-defined]
    shown = text.replace("\x00", "\ufffd").replace("\x1b", "\ufffd").replace("\ud800", "?")
    assert shown in page.text


@given(st.text())
def test_any_text_is_shown_as_it_is(text: str) -> None:
    printable = "".join(one for one in text if one in "\n\t" or not (ord(one) < 32 or 127 <= ord(one) < 160))
    page = seen(Hits([hit(printable)])._repr_html_())
    assert f"begin {printable} end" in page.text


def test_a_hit_says_where_it_stands_and_why_it_was_found() -> None:
    shown = Evidence(
        id="a", rank=2, score=0.0325, path="/docs/manual.pdf", text="Two years.", page=4,
        heading=("Manual", "Warranty"),
        boxes=(), legs={"dense": LegRank(1, 0.8125), "sparse": LegRank(3, 7.5)}, logit=-1.25,
        paths=("/docs/manual.pdf", "/old/manual.pdf"), merged=("b",),
    )  # fmt: skip
    assert seen(shown._repr_html_()).text == (
        "2. /docs/manual.pdf page 4 Manual > WarrantyTwo years."
        "score 0.0325; dense 1. (0.8125), sparse 3. (7.5000); reranker -1.25; with 1 more hit; also in /old/manual.pdf"
    )


def test_an_answer_is_followed_by_its_citations_and_an_abstention_by_its_reason() -> None:
    made = Answer("It is two years [1].", (Citation(1, "/m.pdf", None, "Two years.", 0, 10, ()),), abstained=False)
    assert seen(made._repr_html_()).text == "It is two years [1].[1] /m.pdfTwo years."
    dropped = replace(made, dropped=("it cites nothing: It is blue.",))
    assert seen(dropped._repr_html_()).text.endswith("Two years.left out: it cites nothing: It is blue.")
    nothing = Answer("The documents do not answer this.", (), abstained=True, reason="nothing was found")
    assert seen(nothing._repr_html_()).text == "The documents do not answer this.nothing was found"
    assert seen(Hits()._repr_html_()).text == "Nothing found."


def test_a_list_of_hits_is_still_a_list() -> None:
    hits = Hits([hit("a"), hit("b")])
    assert isinstance(hits, list)
    assert hits == [hit("a"), hit("b")]
    assert hits[0]._repr_html_() in hits._repr_html_()
