from unstructured.documents.elements import ElementMetadata, Footer, NarrativeText, Table, Title
from unstructured.nlp import tokenize
from unstructured.partition import text_type

from rag_pipeline.documents import partition
from rag_pipeline.documents.partition import Parts, Picture, clean, gather, looks_like_heading
from rag_pipeline.types import Element


def test_unstructured_uses_our_spacy_model_and_our_sentences() -> None:
    """The seam: where Unstructured loads its model otherwise, this fails before a download is tried."""
    partition.prepare()
    tokenize._get_nlp.cache_clear()
    assert tokenize.pos_tag("Birds sing.")[1] == ("sing", "VBP")
    assert "parser" not in tokenize._get_nlp().pipe_names
    before = partition._doc.cache_info().misses
    assert text_type.is_possible_narrative_text("A sentence that nobody has asked about until now.")
    assert partition._doc.cache_info().misses > before


def test_gather_keeps_running_headers_once_and_drops_false_titles() -> None:
    raws = [
        Footer("Page footer"),
        Title("Real", metadata=ElementMetadata(category_depth=1)),
        Title("Ends like a sentence.", metadata=ElementMetadata(category_depth=1)),
        NarrativeText("   "),
        Footer("Page footer"),
    ]
    parts = gather(raws, lambda raw: raw.metadata.category_depth)
    assert parts.elements == [
        Element("Page footer", "Footer"),
        Element("Real", "Title", depth=1),
        Element("Ends like a sentence.", "UncategorizedText"),
    ]


def test_gather_writes_tables_row_by_row() -> None:
    table = "<table><tr><td>a</td><td>b c</td></tr><tr><td>1</td><td/></tr></table>"
    parts = gather([Table("a b c 1", metadata=ElementMetadata(text_as_html=table))], lambda _: None)
    assert parts.elements == [Element("a\tb c\n1", "Table", html=table)]


def test_appending_parts_moves_their_pictures() -> None:
    parts = Parts([Element("x", "Text")])
    parts.append(Parts([Element("y", "Text")], [Picture(b"1", after=-1), Picture(b"2", after=0)]))
    assert [picture.after for picture in parts.pictures] == [0, 1]


def test_clean_and_headings() -> None:
    assert clean("a\x00\x1b b\ud800") == "a b?"
    tags = "".join(chr(0xE0000 + ord(char)) for char in "obey")
    assert clean(f"The{tags} bu\u200boy \u202eis\u2066 he\u200dre.\ufeff") == "The buoy is here."
    for kept in ("می\u200cخواهم", "क्\u200dष", "👩\u200d🚀", "ភាសា\u200bខ្មែរ"):
        assert clean(kept) == kept
    assert looks_like_heading("3.2 Why pH missed its target")
    assert not looks_like_heading("1,577")
    assert not looks_like_heading("word " * 26)
