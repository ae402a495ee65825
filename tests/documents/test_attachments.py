import email.message
import email.policy
from pathlib import Path

import pytest

from rag_pipeline.documents.attachments import attached, safe_name
from rag_pipeline.documents.options import ParseOptions
from rag_pipeline.documents.parse import parse
from tests.documents.sources import picture, source_of

WITH = ParseOptions(attachments=True)


@pytest.mark.parametrize(
    ("name", "safe"),
    [
        ("report.pdf", "report.pdf"),
        ("../../etc/passwd", "passwd"),
        ("C:\\Users\\x\\a.docx", "a.docx"),
        ("...", "attachment"),
        ("", "attachment"),
        (".htaccess", "htaccess"),
        ("a\x00b\n.txt", "ab_.txt"),
        ("con.txt", "_.txt"),
        ("invoice\u202efdp.exe", "invoicefdp.exe"),
    ],
)
def test_names_are_safe_to_write(name: str, safe: str) -> None:
    assert safe_name(name) == safe


def test_names_are_short_numbered_and_keep_their_suffix() -> None:
    files = attached([("ü" * 150 + ".pdf", b"x"), ("a.txt", b"1"), ("a.txt", b"2"), ("empty.txt", b"")])
    assert [file.name for file in files][1:] == ["2-a.txt", "3-a.txt"]
    assert files[0].name.startswith("1-üü")
    assert files[0].name.endswith(".pdf")
    assert len(files[0].name.encode()) <= 120
    assert len(attached([("a", b"x")] * 300)) == 200


def mail_with(tmp_path: Path) -> Path:
    inner = email.message.EmailMessage()
    inner["Subject"] = "Older: the pump"
    inner.set_content("The pump was repaired in spring.")
    mail = email.message.EmailMessage()
    mail["Subject"] = "The pump"
    mail["MIME-Version"] = "1.0"
    mail.set_content("plain")
    mail.add_alternative('<p>The pump is here:</p><p><img src="cid:p1" alt="The pump house"></p>', subtype="html")
    image = picture(tmp_path / "pump.png").read_bytes()
    mail.get_payload()[1].add_related(image, "image", "png", cid="<p1>")  # type: ignore[index,union-attr]
    mail.add_attachment(b"id;price\n1;2\n", "text", "csv", filename="../prices.csv")
    mail.add_attachment(inner)
    (tmp_path / "a.eml").write_bytes(mail.as_bytes(policy=email.policy.SMTP))
    return tmp_path / "a.eml"


def test_attachments_are_handed_out_where_that_is_asked_for(tmp_path: Path) -> None:
    path = mail_with(tmp_path)
    document = parse(source_of(path), WITH)
    assert [file.name for file in document.attachments] == ["1-prices.csv", "2-Older_ the pump.eml"]
    assert document.attachments[0].content == b"id;price\n1;2\n"
    assert b"The pump was repaired in spring." in document.attachments[1].content
    assert document.notes == ()
    named = parse(source_of(path))
    assert named.attachments == ()
    assert named.notes == (
        "attachments are not read: ../prices.csv, Older: the pump.eml; set ingest.attachments: true",
    )


def test_pictures_in_the_text_of_a_mail_are_its_figures(tmp_path: Path) -> None:
    document = parse(source_of(mail_with(tmp_path)), WITH)
    (figure,) = document.figures
    assert (figure.caption, figure.media_type, figure.after) == ("The pump house", "image/png", 1)
    assert document.elements[figure.after].text == "The pump is here:"


def test_a_forward_of_150_forwards_is_read(tmp_path: Path) -> None:
    mail = email.message.EmailMessage()
    mail["MIME-Version"] = "1.0"
    mail.set_content("The innermost of all.")
    raw = mail.as_bytes()
    for _ in range(150):
        raw = b"MIME-Version: 1.0\nSubject: fwd\nContent-Type: message/rfc822\n\n" + raw
    (tmp_path / "a.eml").write_bytes(raw)
    document = parse(source_of(tmp_path / "a.eml"), WITH)
    assert document.elements[0].text == "Subject: fwd"
