from pathlib import Path

import pytest

from rag_pipeline.errors import InputError
from tests.documents.sources import parsed

HEADER = (
    "From: Hanna <h@t.example>\nTo: all@t.example\nSubject: =?utf-8?q?Gr=C3=BC=C3=9Fe?=\n"
    "Date: Tue, 4 Mar 2025 08:00:00 +0100\n"
)


def test_the_header_is_text_and_the_subject_the_title(tmp_path: Path) -> None:
    mail = HEADER + "MIME-Version: 1.0\n\nDear all,\n\nthe wiper blades of this lot swell in warm water.\n"
    document = parsed(tmp_path / "a.eml", mail)
    assert [element.text for element in document.elements] == [
        "Subject: Grüße\nFrom: Hanna <h@t.example>\nTo: all@t.example\nDate: Tue, 04 Mar 2025 08:00:00 +0100",
        "Dear all,",
        "the wiper blades of this lot swell in warm water.",
    ]
    assert document.title == "Grüße"


def test_the_html_body_is_preferred_and_attachments_are_named(tmp_path: Path) -> None:
    mail = (
        HEADER + 'MIME-Version: 1.0\nContent-Type: multipart/mixed; boundary="b"\n\n'
        '--b\nContent-Type: multipart/alternative; boundary="c"\n\n'
        "--c\nContent-Type: text/plain\n\nplain body\n--c\nContent-Type: text/html\n\n<p>The body in HTML.</p>\n--c--\n"
        '--b\nContent-Type: application/pdf\nContent-Disposition: attachment; filename="a.pdf"\n\nx\n--b--\n'
    )
    document = parsed(tmp_path / "a.eml", mail)
    assert [element.text for element in document.elements][1:] == ["The body in HTML."]
    assert document.notes == ("attachments are not read: a.pdf; set ingest.attachments: true",)
    assert document.lacking == ("attachments",), "to be read again once they are asked for"


def test_a_digest_is_the_sum_of_its_mails_and_utf16_mail_is_read(tmp_path: Path) -> None:
    digest = (
        HEADER + 'MIME-Version: 1.0\nContent-Type: multipart/digest; boundary="b"\n\n'
        "--b\n\nSubject: one\n\nThe first of two mails.\n--b\n\nSubject: two\n\nThe second of two mails.\n--b--\n"
    )
    assert [e.text for e in parsed(tmp_path / "d.eml", digest).elements][1:] == [
        "The first of two mails.",
        "The second of two mails.",
    ]
    wide = parsed(tmp_path / "w.eml", (HEADER + "\nThe mail is wide.\n").encode("utf-16"))
    assert wide.elements[-1].text == "The mail is wide."


def test_a_wrong_character_set_is_no_obstacle(tmp_path: Path) -> None:
    mail = HEADER.encode() + b"Content-Type: text/plain; charset=no-such\n\nGr\xc3\xbc\xc3\x9fe an alle im Haus.\n"
    assert parsed(tmp_path / "a.eml", mail).elements[-1].text == "Grüße an alle im Haus."


def test_encrypted_mail_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="the mail is encrypted; save it decrypted"):
        parsed(tmp_path / "a.eml", HEADER + 'Content-Type: multipart/encrypted; boundary="b"\n\n--b--\n')
