import pytest
from hypothesis import given
from hypothesis import strategies as st

from rag_pipeline.documents.decode import decode

JAPANESE = "吾輩は猫である。名前はまだ無い。どこで生れたかとんと見当がつかぬ。"
GERMAN = "Für größere Übungen müssen Schüler jährlich prüfen, ob die Maße stimmen. "


@pytest.mark.parametrize(
    ("text", "encoding"),
    [
        (GERMAN, "utf-8"),
        (GERMAN, "utf-8-sig"),
        (GERMAN, "utf-16"),
        (GERMAN, "utf-16-le"),
        (GERMAN, "utf-16-be"),
        (GERMAN, "utf-32"),
        (GERMAN, "utf-32-be"),
        (GERMAN * 3, "cp1252"),
        (JAPANESE * 3, "shift_jis"),
        (JAPANESE * 3, "euc_jp"),
        (JAPANESE * 3, "iso2022_jp"),
    ],
)
def test_text_of_many_encodings_comes_out_as_it_was(text: str, encoding: str) -> None:
    assert decode(text.encode(encoding)) == text


def test_markup_declares_its_own_encoding() -> None:
    page = "<html><head><meta charset='windows-1251'></head><body>да</body></html>"
    assert decode(page.encode("cp1251"), markup=True) == page


def test_a_few_broken_bytes_do_not_spoil_the_rest() -> None:
    data = ("größer " * 50).encode() + b"\xff" + ("schöner " * 50).encode()
    assert decode(data) == "größer " * 50 + "\ufffd" + "schöner " * 50


@given(st.binary(max_size=300))
def test_any_bytes_decode_without_nul_or_carriage_return(data: bytes) -> None:
    text = decode(data)
    assert "\x00" not in text
    assert "\r" not in text


@given(st.text(st.characters(blacklist_categories=["Cs", "Cc"]), max_size=80))
def test_utf8_survives(text: str) -> None:
    assert decode(b"\xef\xbb\xbf" + text.encode()) == text
